"""
The one name that an image has, wherever it is pulled from: that at its registry.

Evidence and quarantine go by it, for failures and for successes.
"""

from collections.abc import Iterator

from webhook.image.decision import Rewrite, rewrite_by_rules
from webhook.image.reference import Reference
from webhook.image.rules import Rules
from webhook.pod.origin import on_harbor, original_of, recorded
from webhook.recovery.waiting import WatchedPod


__all__ = ["identity", "refused_upstream"]


def identity(image: str, record: str, rules: Rules) -> str:
    """
    Return the image's name at its registry; empty if no rule is about it.

    A digest that a verifier appended is no part of it, where the record tells.

    Args:
        image: what the container pulls: from Harbor, or from its registry.
        record: its recorded original image, or empty.
        rules: what rewrites: `webhook.image.rules.Rules.for_records`.
    """
    found = recorded(record, image, rules)
    if found is not None:
        return str(found.rewrite.original)
    at_harbor = original_of(image, rules)
    if at_harbor:
        return at_harbor
    rewrite = rewrite_by_rules(image, rules)
    if not isinstance(rewrite, Rewrite):
        return ""
    before = rewrite_by_rules(record, rules) if record else None
    if isinstance(before, Rewrite) and _pins(rewrite.original, before.original):
        return str(before.original)
    return str(rewrite.original)


def refused_upstream(pod: WatchedPod, rules: Rules) -> Iterator[str]:
    """
    Yield the images, by their one name, that the upstream of *pod* says absent or denied about.
    """
    for container in pod.waiting:
        said_no = container.failure is not None and container.failure.final
        if said_no and container.names_image and not on_harbor(container.image, rules):
            name = identity(container.image, container.record, rules)
            if name:
                yield name


def _pins(now: Reference, before: Reference) -> bool:
    same = now.repository == before.repository
    return same and bool(now.digest) and not before.digest and now.tag in (before.tag, "")
