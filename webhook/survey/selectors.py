"""
What the cluster's webhook configuration says about namespaces.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from webhook.pod.decision import Policy
from webhook.pod.model import MODE_LABEL


__all__ = ["Installation", "find_installation", "namespace_mode"]

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


def namespace_mode(
    name: str,
    labels: Mapping[str, str],
    installation: Installation | None,
    policy: Policy,
) -> tuple[Any, str]:
    """
    Return the mode of a namespace, and why it is not what its label says.
    """
    label = labels.get(MODE_LABEL)
    if label not in (None, "enforce", "audit"):
        return "unknown", "the label must be enforce or audit"
    why = ""
    if installation is not None and installation.entries:
        # Where there is no label: what if there were one?
        labelled = {**labels, MODE_LABEL: label or "audit", "kubernetes.io/metadata.name": name}
        if (label or "audit") not in installation.modes(labelled):
            why = "the webhook configuration leaves this namespace out"
    elif name in ("kube-system", "kube-node-lease"):
        why = "the chart leaves this namespace out"
    if label is None:
        return "none", why
    if why:
        return "excluded", why
    if policy.mode == "audit" and label == "enforce":
        return "audit", "the config says mode: audit"
    return label, ""


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
