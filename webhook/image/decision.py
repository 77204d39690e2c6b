"""
The decision about one image: rewritten, or kept for a named reason.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from webhook.errors import InvalidReferenceError
from webhook.image.availability import Availability, State
from webhook.image.reference import MAX_PATH_LENGTH, Reference
from webhook.image.rules import Rule, Rules


__all__ = ["MAX_IMAGE_BYTES", "Keep", "Reason", "Rewrite", "decide", "rewrite_by_rules"]

MAX_IMAGE_BYTES: Final = 2048
"""
Longer image strings are left alone.  The API server itself sets no limit.
"""


class Reason(StrEnum):
    """
    Why an image was rewritten (``RULE``) or kept (all others).
    """

    RULE = "rule"
    NO_RULE = "no-rule"
    EXCLUDED = "excluded"
    ALREADY_CACHED = "already-cached"
    HARBOR_UNAVAILABLE = "harbor-unavailable"
    PROJECT_UNAVAILABLE = "project-unavailable"
    UPSTREAM_UNAVAILABLE = "upstream-unavailable"
    QUARANTINED = "quarantined"
    INVALID_REFERENCE = "invalid-reference"
    TOO_LONG = "too-long"
    TOO_LARGE = "too-large"
    PAUSED = "paused"
    OPTED_OUT = "opted-out"
    MIRROR_POD = "mirror-pod"
    OWNER_EXCLUDED = "owner-excluded"
    PULL_POLICY_NEVER = "pull-policy-never"
    NOT_RECOVERABLE = "not-recoverable"
    PLACEHOLDER = "placeholder"
    INTERNAL_ERROR = "internal-error"


class Rewrite(Struct, frozen=True, gc=False):
    """
    The image is pulled through Harbor.

    Attributes:
        original: the image under its registry's main name; its identity in the quarantine.
        result: what the image field becomes.
        rule: the rule that matched.
    """

    original: Reference
    result: str
    rule: Rule


class Keep(Struct, frozen=True, gc=False):
    """
    The image stays as it is.

    Attributes:
        reason: why.
        rule: the rule that matched, if it came that far.
    """

    reason: Reason
    rule: Rule | None = None


def rewrite_by_rules(image: str, rules: Rules) -> Rewrite | Keep:
    """
    Decide by the rules alone, as if Harbor were always there.

    The controller asks this too, before it trusts a record of an original image.
    """
    if len(image) > MAX_IMAGE_BYTES:  # Bytes: whatever is not ASCII is no reference anyway.
        return Keep(Reason.TOO_LONG)
    return _rewrite_by_rules(image, rules)


# A cluster's Pods name the same images again and again.
@lru_cache(maxsize=1024)
def _rewrite_by_rules(image: str, rules: Rules) -> Rewrite | Keep:
    try:
        reference = Reference.parse(image)
    except InvalidReferenceError:
        return Keep(Reason.INVALID_REFERENCE)
    if rules.leads_to_harbor(reference):
        return Keep(Reason.ALREADY_CACHED)
    rule = rules.match(reference)
    if rule is None:
        return Keep(Reason.NO_RULE)
    if image.startswith("sha256:"):
        # The grammar reads it as docker.io/library/sha256 with a tag; the kubelet, as a local image.
        return Keep(Reason.INVALID_REFERENCE)
    original = rules.original(reference, rule)
    if not rule.covers(original.path):
        return Keep(Reason.EXCLUDED, rule)
    result = rules.cached(original, rule)
    if len(result.path) > MAX_PATH_LENGTH:
        return Keep(Reason.TOO_LONG, rule)
    return Rewrite(original, str(result), rule)


# Python 3.11 looks a member of an enumeration up as slowly as it decides about an image.
_AVAILABLE: Final = State.AVAILABLE
_CACHE_ONLY: Final = State.CACHE_ONLY


def decide(image: str, rules: Rules, availability: Availability) -> Rewrite | Keep:
    """
    Decide by the rules, and then by what is known of Harbor.
    """
    decision = rewrite_by_rules(image, rules)
    if isinstance(decision, Keep):
        return decision
    rule = decision.rule
    if availability.harbor is not _AVAILABLE:
        return Keep(Reason.HARBOR_UNAVAILABLE, rule)
    state = availability.project(rule.project)
    if state is _CACHE_ONLY and rule.when_upstream_down == "keep":
        return Keep(Reason.UPSTREAM_UNAVAILABLE, rule)
    if state is not _AVAILABLE and state is not _CACHE_ONLY:
        return Keep(Reason.PROJECT_UNAVAILABLE, rule)
    if availability.quarantined and str(decision.original) in availability.quarantined:
        return Keep(Reason.QUARANTINED, rule)
    return decision
