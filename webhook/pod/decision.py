"""
The decision about a whole Pod: each of its images, with what becomes of it and why.

Admission, `rewrite`, `audit` and `explain` all ask here, so they can't come to different ends.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from webhook.image.availability import Availability
from webhook.image.decision import Keep, Reason, Rewrite, decide, rewrite_by_rules
from webhook.image.rules import Rules
from webhook.pod.model import (
    MAX_POD_BYTES,
    MIRROR_ANNOTATION,
    MODE_LABEL,
    ImageField,
    Metadata,
    Place,
    Pod,
    PodSpec,
    image_fields,
    is_recordable,
)
from webhook.pod.record import MAX_ANNOTATION_BYTES, annotation_bytes, records


__all__ = ["ImageDecision", "Mode", "Policy", "decide_pod", "keep_all"]

Mode = Literal["enforce", "audit"]


@dataclass(frozen=True, slots=True)
class Policy:
    """
    What of the config decides about Pods.
    """

    rules: Rules
    mode: Mode = "enforce"
    paused: bool = False
    volumes: bool = False
    ephemeral_containers: bool = False
    exclude_owners: frozenset[str] = frozenset()
    pull_secrets: tuple[str, ...] = ()


class ImageDecision(Struct, frozen=True, gc=False):
    """
    One image of a Pod, what becomes of it, and why.

    Attributes:
        field: where it stands, and what stands there.
        reason: why it is rewritten (``RULE``) or kept (all others).
        result: what the image is afterwards.
        registry: the configured host of the rule that matched, or ``other``.
    """

    field: ImageField
    reason: Reason
    result: str
    registry: str

    @property
    def outcome(self) -> Literal["rewritten", "kept"]:
        """
        Return the decision in a word.
        """
        return "rewritten" if self.reason is Reason.RULE else "kept"


def decide_pod(
    pod: Pod,
    policy: Policy,
    availability: Availability,
    *,
    object_bytes: int = 0,
    fields: Sequence[ImageField] | None = None,
) -> tuple[ImageDecision, ...]:
    """
    Decide about the images of *pod*, or of a Pod template, as if it were created now.

    What holds for the Pod as a whole goes first.

    Args:
        pod: the Pod.
        policy: what the config says about Pods.
        availability: what is known of Harbor.
        object_bytes: what the Pod takes as JSON, if that is known.
        fields: the images to decide about; all of them if absent.
    """
    if fields is None:
        fields = tuple(image_fields(pod.spec or PodSpec()))
    metadata = pod.metadata or Metadata()
    reason = _reason_to_keep_pod(metadata, policy, object_bytes)
    if reason is not None:
        return keep_all(fields, reason)
    twice = _repeated([field.name for field in fields if field.place is not Place.VOLUMES])
    decisions = tuple(_decide_image(field, policy, availability, twice) for field in fields)
    recorded = records([d.field for d in decisions if d.reason is Reason.RULE])
    if annotation_bytes((metadata.annotations or {}) | recorded) > MAX_ANNOTATION_BYTES:
        return keep_all(fields, Reason.TOO_LARGE)
    return decisions


def keep_all(fields: Iterable[ImageField], reason: Reason) -> tuple[ImageDecision, ...]:
    """
    Return the decision to leave all *fields* alone for one *reason*.
    """
    return tuple(ImageDecision(field, reason, field.image, "other") for field in fields)


def _reason_to_keep_pod(metadata: Metadata, policy: Policy, object_bytes: int) -> Reason | None:
    if MIRROR_ANNOTATION in (metadata.annotations or {}):
        return Reason.MIRROR_POD
    if (metadata.labels or {}).get(MODE_LABEL) == "off":
        return Reason.OPTED_OUT
    owners = {owner.api_version.partition("/")[0] for owner in metadata.owner_references or ()}
    if owners & policy.exclude_owners:
        return Reason.OWNER_EXCLUDED
    if policy.paused:
        return Reason.PAUSED
    if object_bytes > MAX_POD_BYTES:
        return Reason.TOO_LARGE
    return None


def _repeated(names: Sequence[str]) -> Collection[str]:
    if len(set(names)) == len(names):
        return ()
    return {name for name, times in Counter(names).items() if times > 1}


def _decide_image(
    field: ImageField, policy: Policy, availability: Availability, twice: Collection[str]
) -> ImageDecision:
    """
    Decide about one image: the rules go first, so that a reason names what really stands in the way.
    """
    decision: Rewrite | Keep
    if reason := _reason_to_keep_field(field, policy, twice):
        decision = rewrite_by_rules(field.image, policy.rules)
        if isinstance(decision, Rewrite):
            decision = Keep(reason, decision.rule)
    else:
        decision = decide(field.image, policy.rules, availability)
    registry = decision.rule.host if decision.rule else "other"
    if isinstance(decision, Keep):
        return ImageDecision(field, decision.reason, field.image, registry)
    return ImageDecision(field, Reason.RULE, decision.result, registry)


def _reason_to_keep_field(
    field: ImageField, policy: Policy, twice: Collection[str]
) -> Reason | None:
    if field.pull_policy == "Never":
        return Reason.PULL_POLICY_NEVER
    if field.place is Place.VOLUMES:
        return None if policy.volumes else Reason.NOT_RECOVERABLE
    if field.place is Place.EPHEMERAL_CONTAINERS:
        return None if policy.ephemeral_containers else Reason.NOT_RECOVERABLE
    # Without a record there is no way back.
    return (
        None if is_recordable(field.name) and field.name not in twice else Reason.NOT_RECOVERABLE
    )
