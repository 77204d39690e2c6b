"""
The answer to an admission review: which images of a Pod are pulled through Harbor.

Nothing here raises, waits or refuses.  Every answer allows the Pod, with no patch or with one that
applies; the outcome of every image is returned beside it, for the shell to count and to log.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import Struct

from webhook.admission.review import Request, Review, build_response
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
from webhook.pod.patch import (
    MAX_ANNOTATION_BYTES,
    Operation,
    annotation_bytes,
    build_patch,
    records,
)


__all__ = [
    "Admission",
    "ImageOutcome",
    "Mode",
    "Outcome",
    "Policy",
    "admit",
    "decide_pod",
]

_MAX_WARNING: Final = 256
_MAX_AUDIT_VALUE: Final = 1024

Mode = Literal["enforce", "audit"]
Outcome = Literal["rewritten", "kept", "would-rewrite"]


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


class ImageOutcome(Struct, frozen=True, gc=False):
    """
    What became of one image, and why.

    Attributes:
        field: where it stands.
        outcome: rewritten, kept, or (in audit mode) would be rewritten.
        reason: why.
        result: what the image is, or would be, afterwards.
        registry: the configured host of the rule that matched, or ``other``.
    """

    field: ImageField
    outcome: Outcome
    reason: Reason
    result: str
    registry: str


class Admission(Struct, frozen=True, gc=False):
    """
    An answer, and what it says.

    Attributes:
        body: the AdmissionReview to send, as JSON.
        mode: the mode in which the Pod was reviewed.
        outcome: what became of the Pod: the strongest outcome of its images.
        images: what became of each image.
        message: why there was nothing to decide, or an empty string.
    """

    body: bytes
    mode: Mode
    outcome: Outcome
    images: tuple[ImageOutcome, ...] = ()
    message: str = ""


def admit(review: Review, policy: Policy, availability: Availability, mode: Mode) -> Admission:
    """
    Answer *review*, which came in for a namespace in *mode*.
    """
    if policy.mode == "audit":
        mode = "audit"
    try:
        return _admit(review, policy, availability, mode)
    except Exception as error:  # noqa: BLE001 - a Pod is never refused because of us.
        message = f"left alone after an internal error ({type(error).__name__})"
        annotations = {"kept": Reason.INTERNAL_ERROR.value}
        body = build_response(review, message=message, audit_annotations=annotations)
        return Admission(body, mode, "kept", _unread(review.request), message)


def decide_pod(
    pod: Pod, policy: Policy, availability: Availability, object_bytes: int = 0
) -> tuple[ImageOutcome, ...]:
    """
    Decide about every image of *pod*, or of a Pod template, as if it were created now.

    This is for surveys and for manifests; outcomes are those of a namespace in enforce mode.
    """
    fields = list(image_fields(pod.spec or PodSpec()))
    decisions = _decide_pod(fields, pod, policy, availability, object_bytes)
    return tuple(
        _outcome(field, decision, "enforce")
        for field, decision in zip(fields, decisions, strict=True)
    )


def _admit(review: Review, policy: Policy, availability: Availability, mode: Mode) -> Admission:
    request = review.request
    message = review.problem or _nothing_to_do(request)
    if message:
        annotations = {"kept": Reason.INTERNAL_ERROR.value} if review.problem else None
        body = build_response(review, message=message, audit_annotations=annotations)
        images = _unread(request) if review.problem else ()
        return Admission(body, mode, "kept", images, message)

    pod = request.object or Pod()
    fields = list(_reviewed_fields(request, pod))
    decisions = _decide_pod(fields, pod, policy, availability, review.object_bytes)
    images = tuple(
        _outcome(field, decision, mode) for field, decision in zip(fields, decisions, strict=True)
    )
    patch: Sequence[Operation] = ()
    warnings: Sequence[str] = ()
    if mode == "enforce":
        patch = build_patch(pod, _changes(fields, decisions), policy.pull_secrets)
    else:
        warnings = _warnings(images, policy.rules.harbor_host)
    body = build_response(
        review, patch=patch, warnings=warnings, audit_annotations=_audit_annotations(images)
    )
    changed: Outcome = "rewritten" if mode == "enforce" else "would-rewrite"
    outcome: Outcome = changed if any(i.outcome == changed for i in images) else "kept"
    return Admission(body, mode, outcome, images)


def _nothing_to_do(request: Request) -> str:
    """
    Say why this operation is none that we rewrite, or return an empty string.

    Never UPDATE of ``pods``: a changed image there restarts a running container.
    """
    resource, kind = request.resource, request.kind
    if resource.group or resource.resource != "pods" or kind.group or kind.kind != "Pod":
        return "only Pods are rewritten"
    if (request.operation, request.sub_resource or "") not in (
        ("CREATE", ""),
        ("UPDATE", "ephemeralcontainers"),
    ):
        return "only creation of Pods and new ephemeral containers are rewritten"
    if request.object is None or request.object.spec is None:
        return "there is no Pod in it"
    return ""


def _reviewed_fields(request: Request, pod: Pod) -> Iterable[ImageField]:
    """
    Yield the images that this operation brings: all on CREATE, new ephemeral ones on UPDATE.
    """
    fields = image_fields(pod.spec or PodSpec())
    if request.operation == "CREATE":
        return fields
    old = request.old_object.spec if request.old_object else None
    known = {container.name for container in (old and old.ephemeral_containers) or ()}
    return (
        field
        for field in fields
        if field.place is Place.EPHEMERAL_CONTAINERS and field.name not in known
    )


def _decide_pod(
    fields: list[ImageField],
    pod: Pod,
    policy: Policy,
    availability: Availability,
    object_bytes: int,
) -> list[Rewrite | Keep]:
    """
    Decide about each image; what holds for the Pod as a whole goes first.
    """
    metadata = pod.metadata or Metadata()
    reason = _reason_to_keep_pod(metadata, policy, object_bytes)
    if reason is not None:
        return [Keep(reason)] * len(fields)
    twice = _repeated([field.name for field in fields if field.place is not Place.VOLUMES])
    decisions = [_decide_image(field, policy, availability, twice) for field in fields]
    annotations = (metadata.annotations or {}) | records(_changes(fields, decisions))
    if annotation_bytes(annotations) > MAX_ANNOTATION_BYTES:
        return [Keep(Reason.TOO_LARGE)] * len(fields)
    return decisions


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
) -> Rewrite | Keep:
    """
    Decide about one image: the rules go first, so that a reason names what really stands in the way.
    """
    if reason := _reason_to_keep_field(field, policy, twice):
        decision = rewrite_by_rules(field.image, policy.rules)
        return Keep(reason, decision.rule) if isinstance(decision, Rewrite) else decision
    return decide(field.image, policy.rules, availability)


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


def _changes(
    fields: list[ImageField], decisions: list[Rewrite | Keep]
) -> list[tuple[ImageField, str]]:
    return [
        (field, decision.result)
        for field, decision in zip(fields, decisions, strict=True)
        if isinstance(decision, Rewrite)
    ]


def _outcome(field: ImageField, decision: Rewrite | Keep, mode: Mode) -> ImageOutcome:
    registry = decision.rule.host if decision.rule else "other"
    if isinstance(decision, Keep):
        return ImageOutcome(field, "kept", decision.reason, field.image, registry)
    outcome: Outcome = "rewritten" if mode == "enforce" else "would-rewrite"
    return ImageOutcome(field, outcome, Reason.RULE, decision.result, registry)


def _unread(request: Request) -> tuple[ImageOutcome, ...]:
    """
    Return the outcome for the images of a Pod that could not be read or decided about.
    """
    spec = request.object.spec if request.object else None
    fields = image_fields(spec) if spec else ()
    return tuple(
        ImageOutcome(field, "kept", Reason.INTERNAL_ERROR, field.image, "other")
        for field in fields
    )


def _warnings(images: Sequence[ImageOutcome], harbor_host: str) -> list[str]:
    """
    Sum up in one line what would change; the images in it follow the grammar, so they are ASCII.
    """
    would = [image for image in images if image.outcome == "would-rewrite"]
    if not would:
        return []
    names = ", ".join(dict.fromkeys(image.field.image for image in would))
    text = (
        f"harbor-cache audit: {len(would)} of {len(images)} images "
        f"would be pulled through {harbor_host}: {names}"
    )
    return [_cut(text, _MAX_WARNING)]


def _audit_annotations(images: Sequence[ImageOutcome]) -> dict[str, str]:
    """
    Return one short entry per outcome; keys are prefixed with the webhook's name by the API server.
    """
    entries: dict[str, list[str]] = {}
    for image in images:
        names = entries.setdefault(image.outcome, [])
        kept = image.outcome == "kept"
        names.append(f"{image.field.name}={image.reason}" if kept else image.field.name)
    return {
        outcome: _cut(", ".join(names), _MAX_AUDIT_VALUE) for outcome, names in entries.items()
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
