"""
The decision about a whole Pod: each of its images, with what becomes of it and why.

Admission, `rewrite`, `audit` and `explain` all ask here, so they can't come to different ends.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from webhook.image.availability import Availability
from webhook.image.decision import Keep, Reason, Rewrite, decide, rewrite_by_rules
from webhook.image.rules import Rule, Rules
from webhook.pod.model import (
    MAX_ANNOTATION_BYTES,
    MAX_POD_BYTES,
    MIRROR_ANNOTATION,
    MODE_LABEL,
    RECORD_PREFIX,
    ImageField,
    Metadata,
    OwnerReference,
    Place,
    Pod,
    PodSpec,
    image_fields,
    is_recordable,
)
from webhook.pod.origin import recorded
from webhook.pod.selector import Selector


__all__ = ["ImageDecision", "Mode", "Policy", "decide_pod", "keep_all", "records_of"]

Mode = Literal["enforce", "audit"]


@dataclass(frozen=True, slots=True)
class Policy:
    """
    What of the config decides about Pods.

    Attributes:
        rules: which registry is cached where.
        mode: ``audit`` changes nothing anywhere.
        paused: everything is left alone.
        volumes: whether images of volumes are rewritten.
        ephemeral_containers: whether images of ephemeral containers are.
        exclude_owners: owners whose Pods are left alone: an API group, ``Kind.group``, or a
            ``Kind`` of the core group.
        exclude_pods: label selectors of Pods that are left alone.
        placeholders: what stands for an image until an injector fills it in.
        pull_secrets: Secrets that a rewritten Pod gets for its pulls.
    """

    rules: Rules
    mode: Mode = "enforce"
    paused: bool = False
    volumes: bool = False
    ephemeral_containers: bool = False
    exclude_owners: frozenset[str] = frozenset()
    exclude_pods: tuple[Selector, ...] = ()
    placeholders: frozenset[str] = frozenset()
    pull_secrets: tuple[str, ...] = ()


class ImageDecision(Struct, frozen=True, gc=False):
    """
    One image of a Pod, what becomes of it, and why.

    Attributes:
        field: where it stands, and what stands there.
        reason: why it is rewritten (``RULE``) or kept (all others).
        result: what the image is afterwards.
        rule: the rule that matched its registry, if it came that far.
        record: what its record must be from now on; empty if it stays as it is.
    """

    field: ImageField
    reason: Reason
    result: str
    rule: Rule | None = None
    record: str = ""

    @property
    def outcome(self) -> Literal["rewritten", "kept"]:
        """
        Return the decision in a word.
        """
        return "rewritten" if self.reason is Reason.RULE else "kept"

    @property
    def registry(self) -> str:
        """
        Return the configured host of the rule that matched, or ``other``.
        """
        return self.rule.host if self.rule else "other"


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
    annotations = metadata.annotations or {}
    twice = _repeated([field.name for field in fields if field.place is not Place.VOLUMES])
    decisions = [_decide_image(field, policy, availability, twice) for field in fields]
    decisions = [_with_record(decision, annotations, policy.rules) for decision in decisions]
    if _bytes_of(annotations | records_of(decisions)) > MAX_ANNOTATION_BYTES:
        decisions = [_without_record(decision) for decision in decisions]
    return tuple(decisions)


def records_of(decisions: Iterable[ImageDecision]) -> dict[str, str]:
    """
    Return the annotations that *decisions* ask for.
    """
    return {RECORD_PREFIX + each.field.name: each.record for each in decisions if each.record}


def keep_all(fields: Iterable[ImageField], reason: Reason) -> tuple[ImageDecision, ...]:
    """
    Return the decision to leave all *fields* alone for one *reason*.
    """
    return tuple(ImageDecision(field, reason, field.image) for field in fields)


def _reason_to_keep_pod(metadata: Metadata, policy: Policy, object_bytes: int) -> Reason | None:
    labels = metadata.labels or {}
    if MIRROR_ANNOTATION in (metadata.annotations or {}):
        return Reason.MIRROR_POD
    if labels.get(MODE_LABEL) == "off":
        return Reason.OPTED_OUT
    if not policy.exclude_owners.isdisjoint(_names_of(metadata.owner_references or ())):
        return Reason.OWNER_EXCLUDED
    if any(selector.matches(labels) for selector in policy.exclude_pods):
        return Reason.OWNER_EXCLUDED
    if policy.paused:
        return Reason.PAUSED
    if object_bytes > MAX_POD_BYTES:
        return Reason.TOO_LARGE
    return None


def _names_of(owners: Iterable[OwnerReference]) -> Iterator[str]:
    """
    Yield the names by which *owners* can be excluded.
    """
    for owner in owners:
        group, slash, _ = owner.api_version.partition("/")
        if slash:
            yield group
            yield f"{owner.kind}.{group}"
        else:
            yield owner.kind


def _bytes_of(annotations: Mapping[str, str]) -> int:
    """
    Return what *annotations* take, in bytes, as the API server counts it.
    """
    texts = (*annotations, *annotations.values())
    return sum([len(text) if text.isascii() else len(text.encode()) for text in texts])


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
    if field.image in policy.placeholders:
        return ImageDecision(field, Reason.PLACEHOLDER, field.image)
    decision: Rewrite | Keep
    if reason := _reason_to_keep_field(field, policy, twice):
        decision = rewrite_by_rules(field.image, policy.rules)
        if isinstance(decision, Rewrite):
            decision = Keep(reason, decision.rule)
    else:
        decision = decide(field.image, policy.rules, availability)
    if isinstance(decision, Keep):
        return ImageDecision(field, decision.reason, field.image, decision.rule)
    return ImageDecision(field, Reason.RULE, decision.result, decision.rule)


def _with_record(
    decision: ImageDecision, annotations: Mapping[str, str], rules: Rules
) -> ImageDecision:
    """
    Return *decision* with the record that it needs: of an image that is rewritten now, or pinned.

    An image volume's reference is immutable, and annotations that come through
    ``pods/ephemeralcontainers`` are discarded: neither has a record.  Where a webhook after ours
    has put a digest into an image that leads to Harbor already, the record follows.
    """
    field = decision.field
    if field.place not in (Place.CONTAINERS, Place.INIT_CONTAINERS):
        return decision
    if decision.reason is Reason.RULE:
        return replace(decision, record=field.image)
    record = annotations.get(RECORD_PREFIX + field.name)
    if record and decision.reason is Reason.ALREADY_CACHED:
        found = recorded(record, field.image, rules.for_records)
        if found and found.original != record:
            return replace(decision, record=found.original)
    return decision


def _without_record(decision: ImageDecision) -> ImageDecision:
    """
    Return *decision* where there is no room for its record: without, there is no way back.
    """
    if not decision.record:
        return decision
    reason = Reason.TOO_LARGE if decision.reason is Reason.RULE else decision.reason
    return ImageDecision(decision.field, reason, decision.field.image, decision.rule)


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
