"""
What the cluster's webhook configuration says about namespaces.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final


__all__ = ["Installation", "find_installation"]

_SUFFIX: Final = ".harbor-cache.io"


@dataclass(frozen=True, slots=True)
class Installation:
    """
    The entries of our webhook configuration: mode → the namespace selectors for it.

    Empty where the webhook is not installed.
    """

    entries: Mapping[str, tuple[Mapping[str, Any], ...]]

    def modes(self, labels: Mapping[str, str]) -> set[str]:
        """
        Return the modes whose entries select a namespace with these *labels*.
        """
        return {
            mode
            for mode, selectors in self.entries.items()
            if any(_matches(selector, labels) for selector in selectors)
        }


def find_installation(configurations: Iterable[Mapping[str, Any]]) -> Installation:
    """
    Return what *configurations* (MutatingWebhookConfigurations) say about us.
    """
    entries: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for configuration in configurations:
        for webhook in configuration.get("webhooks") or ():
            name = str(webhook.get("name", ""))
            if name.endswith(_SUFFIX):
                mode = name.removesuffix(_SUFFIX)
                selector = webhook.get("namespaceSelector") or {}
                entries[mode] = (*entries.get(mode, ()), selector)
    return Installation(entries)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """
    Evaluate a label selector as ``k8s.io/apimachinery/pkg/labels`` does.
    """
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key"), expression.get("values") or ()
        match expression.get("operator"):
            case "In":
                holds = key in labels and labels[key] in values
            case "NotIn":
                holds = key not in labels or labels[key] not in values
            case "Exists":
                holds = key in labels
            case "DoesNotExist":
                holds = key not in labels
            case _:
                holds = False
        if not holds:
            return False
    return True
