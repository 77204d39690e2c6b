"""
Decide what a review gets: which images of its Pod are pulled through Harbor.

Nothing here raises, waits or refuses: an admission allows the Pod, with no patch or with one that
applies, and says of every image what became of it, for the shell to count and to log.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from webhook.admission.review import Request, Review
from webhook.image.availability import Availability
from webhook.image.decision import Reason
from webhook.pod.decision import ImageDecision, Mode, Policy, decide_pod, keep_all
from webhook.pod.model import ImageField, Place, Pod, PodSpec, image_fields
from webhook.pod.patch import Operation, build_patch


__all__ = ["Admission", "Outcome", "admit", "left_alone"]

_MAX_WARNING: Final = 256
_MAX_AUDIT_VALUE: Final = 1024

Outcome = Literal["rewritten", "kept", "would-rewrite"]


class Admission(Struct, frozen=True, gc=False):
    """
    What a review gets.

    Attributes:
        mode: the mode in which the Pod was reviewed.
        images: what was decided about each image.
        patch: the operations that make it so; none in audit mode.
        warnings: what whoever creates the Pod gets to read.
        audit_annotations: what the API server's audit log gets to know.
        message: why there was nothing to decide, or an empty string.
    """

    mode: Mode
    images: tuple[ImageDecision, ...] = ()
    patch: Sequence[Operation] = ()
    warnings: Sequence[str] = ()
    audit_annotations: Mapping[str, str] = {}
    message: str = ""

    @property
    def outcome(self) -> Outcome:
        """
        Return what became of the Pod: the strongest outcome of its images.
        """
        rewritten = any(image.reason is Reason.RULE for image in self.images)
        return _CHANGED[self.mode] if rewritten else "kept"

    def outcome_of(self, image: ImageDecision) -> Outcome:
        """
        Return what became of one of its images.
        """
        return _CHANGED[self.mode] if image.reason is Reason.RULE else "kept"


_CHANGED: Final[Mapping[Mode, Outcome]] = {"enforce": "rewritten", "audit": "would-rewrite"}


def admit(review: Review, policy: Policy, availability: Availability, mode: Mode) -> Admission:
    """
    Decide about *review*, which came in for a namespace in *mode*.
    """
    if policy.mode == "audit":
        mode = "audit"
    try:
        return _admit(review, policy, availability, mode)
    except Exception as error:  # noqa: BLE001 - a Pod is never refused because of us.
        return left_alone(review, mode, error)


def left_alone(review: Review, mode: Mode, error: Exception) -> Admission:
    """
    Return the admission of a Pod that is left alone because of an *error* of ours.
    """
    return _unread(review, mode, f"left alone after an internal error ({type(error).__name__})")


def _admit(review: Review, policy: Policy, availability: Availability, mode: Mode) -> Admission:
    if review.problem:
        return _unread(review, mode, review.problem)
    request = review.request
    if message := _nothing_to_do(request):
        return Admission(mode, message=message)
    pod = request.object or Pod()
    images = decide_pod(
        pod,
        policy,
        availability,
        object_bytes=review.object_bytes,
        fields=_reviewed_fields(request, pod),
    )
    audit_annotations = _audit_annotations(images, mode)
    if mode == "audit":
        warnings = _warnings(images, policy.rules.harbor_host)
        return Admission(mode, images, warnings=warnings, audit_annotations=audit_annotations)
    patch = build_patch(pod, images, policy.pull_secrets)
    return Admission(mode, images, patch=patch, audit_annotations=audit_annotations)


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


def _reviewed_fields(request: Request, pod: Pod) -> tuple[ImageField, ...]:
    """
    Return the images that this operation brings: all on CREATE, new ephemeral ones on UPDATE.
    """
    fields = image_fields(pod.spec or PodSpec())
    if request.operation == "CREATE":
        return tuple(fields)
    old = request.old_object.spec if request.old_object else None
    known = {container.name for container in (old and old.ephemeral_containers) or ()}
    return tuple(
        field
        for field in fields
        if field.place is Place.EPHEMERAL_CONTAINERS and field.name not in known
    )


def _unread(review: Review, mode: Mode, message: str) -> Admission:
    """
    Return the admission of a Pod that could not be read or decided about, as far as it was read.
    """
    spec = review.request.object.spec if review.request.object else None
    images = keep_all(image_fields(spec or PodSpec()), Reason.INTERNAL_ERROR)
    annotations = {"kept": Reason.INTERNAL_ERROR.value}
    return Admission(mode, images, audit_annotations=annotations, message=message)


def _warnings(images: Sequence[ImageDecision], harbor_host: str) -> list[str]:
    """
    Sum up in one line what would change; the images in it follow the grammar, so they are ASCII.
    """
    would = [image for image in images if image.reason is Reason.RULE]
    if not would:
        return []
    names = ", ".join(dict.fromkeys(image.field.image for image in would))
    text = (
        f"harbor-cache audit: {len(would)} of {len(images)} images "
        f"would be pulled through {harbor_host}: {names}"
    )
    return [_cut(text, _MAX_WARNING)]


def _audit_annotations(images: Sequence[ImageDecision], mode: Mode) -> dict[str, str]:
    """
    Return one short entry per outcome; keys are prefixed with the webhook's name by the API server.
    """
    entries: dict[str, list[str]] = {}
    for image in images:
        if image.reason is Reason.RULE:
            entries.setdefault(_CHANGED[mode], []).append(image.field.name)
        else:
            entries.setdefault("kept", []).append(f"{image.field.name}={image.reason}")
    return {
        outcome: _cut(", ".join(names), _MAX_AUDIT_VALUE) for outcome, names in entries.items()
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
