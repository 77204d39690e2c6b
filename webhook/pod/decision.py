"""
The decision about a whole Pod: each of its images, with what becomes of it and why.

Admission, `rewrite`, `audit` and `explain` all ask here, so they can't come to different ends.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from webhook.image.availability import Availability
from webhook.image.decision import Keep, Reason, Rewrite, decide, rewrite_by_rules
from webhook.image.rules import Rule, Rules
from webhook.pod.model import (
    MAX_ANNOTATION_BYTES,
    MIRROR_ANNOTATION,
    MODE_LABEL,
    RECORD_PREFIX,
    REWRITTEN_LABEL,
    ImageField,
    OwnerReference,
    Place,
    Pod,
    image_fields,
    is_recordable,
)
from webhook.pod.origin import recorded
from webhook.pod.selector import Selector
from webhook.pod.subject import About, Subject, annotation_bytes, subject_of


__all__ = [
    "ImageDecision",
    "Mode",
    "Policy",
    "decide_pod",
    "decide_subject",
    "keep_all",
    "records_of",
]

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
        labels: the labels of a Pod that are looked at, which follows from the rest.
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
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        selected = [each.key for selector in self.exclude_pods for each in selector.requirements]
        labels = dict.fromkeys((MODE_LABEL, REWRITTEN_LABEL, *selected))
        object.__setattr__(self, "labels", tuple(labels))


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


def decide_pod(pod: Pod, policy: Policy, availability: Availability) -> tuple[ImageDecision, ...]:
    """
    Decide about the images of *pod*, or of a Pod template, as if it were created now.
    """
    return decide_subject(subject_of(pod, policy.labels), policy, availability)


def decide_subject(
    subject: Subject,
    policy: Policy,
    availability: Availability,
    fields: Sequence[ImageField] | None = None,
) -> tuple[ImageDecision, ...]:
    """
    Decide about the images of a Pod; what holds for the Pod as a whole goes first.

    Args:
        subject: what is looked at of the Pod.
        policy: what the config says about Pods.
        availability: what is known of Harbor.
        fields: the images to decide about; all of them if absent.
    """
    if fields is None:
        fields = tuple(image_fields(subject.spec))
    about = subject.about or About()
    annotations = dict(about.annotations or ())
    reason = _reason_to_keep_pod(subject, dict(about.labels or ()), annotations, policy)
    if reason is not None:
        return keep_all(fields, reason)
    twice = _repeated([field.name for field in fields if field.place is not Place.VOLUMES])
    decisions = tuple(
        [_decide_image(field, annotations, twice, policy, availability) for field in fields]
    )
    records = records_of(decisions)
    replaced = [(key, annotations[key]) for key in records if key in annotations]
    total = about.annotation_bytes + annotation_bytes(records.items()) - annotation_bytes(replaced)
    if records and total > MAX_ANNOTATION_BYTES:
        decisions = tuple([_without_record(decision) for decision in decisions])
    return decisions


def records_of(decisions: Iterable[ImageDecision]) -> dict[str, str]:
    """
    Return the annotations that *decisions* ask for.
    """
    return {RECORD_PREFIX + each.field.name: each.record for each in decisions if each.record}


def keep_all(fields: Iterable[ImageField], reason: Reason) -> tuple[ImageDecision, ...]:
    """
    Return the decision to leave all *fields* alone for one *reason*.
    """
    return tuple([ImageDecision(field, reason, field.image) for field in fields])


def _reason_to_keep_pod(
    subject: Subject, labels: Mapping[str, str], annotations: Mapping[str, str], policy: Policy
) -> Reason | None:
    if MIRROR_ANNOTATION in annotations:
        return Reason.MIRROR_POD
    if labels.get(MODE_LABEL) == "off":
        return Reason.OPTED_OUT
    if subject.about and not policy.exclude_owners.isdisjoint(_names_of(subject.about.owners)):
        return Reason.OWNER_EXCLUDED
    if any(selector.matches(labels) for selector in policy.exclude_pods):
        return Reason.OWNER_EXCLUDED
    if policy.paused:
        return Reason.PAUSED
    if subject.is_large:
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


def _repeated(names: Sequence[str]) -> Collection[str]:
    if len(set(names)) == len(names):
        return ()
    return {name for name, times in Counter(names).items() if times > 1}


def _decide_image(
    field: ImageField,
    annotations: Mapping[str, str],
    twice: Collection[str],
    policy: Policy,
    availability: Availability,
) -> ImageDecision:
    """
    Decide about one image: the rules go first, so that a reason names what really stands in the way.

    An image that is rewritten gets a record, and so does one that leads to Harbor already if a
    webhook after ours has put a digest into it.  An image volume's reference is immutable, and
    annotations that come through ``pods/ephemeralcontainers`` are discarded: neither has a record.
    """
    image, rules = field.image, policy.rules
    if image in policy.placeholders:
        return ImageDecision(field, Reason.PLACEHOLDER, image)
    has_record = field.place in _RECORDED
    reason = _reason_to_keep_field(field, policy, twice)
    decision: Rewrite | Keep
    if reason is None:
        decision = decide(image, rules, availability)
    else:
        decision = rewrite_by_rules(image, rules)
    if isinstance(decision, Rewrite):
        if reason is not None:
            return ImageDecision(field, reason, image, decision.rule)
        record = image if has_record else ""
        return ImageDecision(field, Reason.RULE, decision.result, decision.rule, record)
    record = ""
    if annotations and has_record and decision.reason is Reason.ALREADY_CACHED:
        record = _follow(annotations.get(RECORD_PREFIX + field.name, ""), image, rules)
    return ImageDecision(field, decision.reason, image, decision.rule, record)


_RECORDED: Final = frozenset({Place.CONTAINERS, Place.INIT_CONTAINERS})


def _follow(record: str, image: str, rules: Rules) -> str:
    """
    Return what *record* must become to lead to *image*; empty if it does, or leads elsewhere.
    """
    found = recorded(record, image, rules.for_records)
    return found.original if found and found.original != record else ""


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
