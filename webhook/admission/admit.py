"""
Decide what a review gets: which images of its Pod are pulled through Harbor.

An admission allows the Pod, with no patch or with one that applies, and says of every image what
became of it, for the shell to count and to log.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final, Literal, Self

from msgspec import Struct
from msgspec.structs import replace

from webhook.admission.review import Review
from webhook.image.availability import Availability
from webhook.image.decision import Reason
from webhook.pod.decision import ImageDecision, Mode, Policy, decide_subject, keep_all
from webhook.pod.model import Place, Pod, PodSpec, image_fields
from webhook.pod.patch import Operation, build_patch
from webhook.pod.subject import Subject, subject_of
from webhook.text import clean


__all__ = [
    "MAX_DESCRIBED",
    "Admission",
    "Outcome",
    "Question",
    "admit",
    "leave_alone",
    "question_of",
    "turn_away",
]

MAX_DESCRIBED: Final = 20
"""
Of how many images an admission can be described: each takes its part of a log line.
"""

_MAX_WARNING: Final = 256
_MAX_AUDIT_VALUE: Final = 1024

Outcome = Literal["rewritten", "kept", "would-rewrite"]


class Question(Struct, frozen=True, gc=False):
    """
    What an admission is made from, beside the policy and what is known of Harbor.

    Attributes:
        subject: what is looked at of the Pod.
        mode: the mode in which it is reviewed.
        known: of an UPDATE, the names of the ephemeral containers that were there before; None
            where the Pod is created.
    """

    subject: Subject
    mode: Mode
    known: tuple[str, ...] | None = None


class Admission(Struct, frozen=True, dict=True):
    """
    What a review gets.  Nothing in it is of one review alone, so many may get the same one.

    Attributes:
        mode: the mode in which the Pod was reviewed.
        images: what was decided about each image.
        outcome: what became of the Pod: the strongest outcome of its images.
        counts: how many images of each registry had which outcome for which reason.
        patch: the operations that make it so; none in audit mode.
        warnings: what whoever creates the Pod gets to read.
        audit_annotations: what the API server's audit log gets to know.
        message: why there was nothing to decide, or an empty string.
    """

    mode: Mode
    images: tuple[ImageDecision, ...] = ()
    outcome: Outcome = "kept"
    counts: tuple[tuple[tuple[str, Outcome, Reason], int], ...] = ()
    patch: Sequence[Operation] = ()
    warnings: Sequence[str] = ()
    audit_annotations: Mapping[str, str] = {}
    message: str = ""

    @classmethod
    def of(
        cls,
        mode: Mode,
        images: tuple[ImageDecision, ...],
        *,
        patch: Sequence[Operation] = (),
        warnings: Sequence[str] = (),
        message: str = "",
    ) -> Self:
        """
        Sum up what was decided about *images*.
        """
        changed, rule = _CHANGED[mode], Reason.RULE
        outcome: Outcome = "kept"
        counts: dict[tuple[str, Outcome, Reason], int] = {}
        names: dict[str, list[str]] = {}
        for image in images:
            name, reason = image.field.name, image.reason
            if reason is rule:
                outcome = changed
                names.setdefault(changed, []).append(name)
            else:
                names.setdefault("kept", []).append(f"{name}={reason}")
            key = (image.registry, changed if reason is rule else "kept", reason)
            counts[key] = counts.get(key, 0) + 1
        return cls(
            mode,
            images,
            outcome,
            tuple(counts.items()),
            patch,
            warnings,
            # Short; the API server puts the webhook's name in front of each key.
            {word: _cut(", ".join(those), _MAX_AUDIT_VALUE) for word, those in names.items()},
            message,
        )

    def outcome_of(self, image: ImageDecision) -> Outcome:
        """
        Return what became of one of its images.
        """
        return _CHANGED[self.mode] if image.reason is Reason.RULE else "kept"

    @cached_property
    def described(self) -> tuple[Mapping[str, str], ...]:
        """
        Say what became of its first images, as a log line does; strings from the Pod are cut.

        Put together when it is asked for, and once for all reviews that get this admission.
        """
        return tuple([self._describe(image) for image in self.images[:MAX_DESCRIBED]])

    def _describe(self, image: ImageDecision) -> Mapping[str, str]:
        described = {
            "name": clean(image.field.name),
            "image": clean(image.field.image),
            "outcome": self.outcome_of(image),
            "reason": image.reason.value,
        }
        if image.result != image.field.image:
            described["result"] = image.result
        return described


_CHANGED: Final[Mapping[Mode, Outcome]] = {"enforce": "rewritten", "audit": "would-rewrite"}


def turn_away(review: Review, mode: Mode) -> Admission | None:
    """
    Return the admission of a review that there is nothing to decide about; None where there is.

    Never UPDATE of ``pods``: a changed image there restarts a running container.
    """
    if review.problem:
        return _unread(review, mode, review.problem)
    request = review.request
    resource, kind = request.resource, request.kind
    if resource.group or resource.resource != "pods" or kind.group or kind.kind != "Pod":
        return Admission(mode, message="only Pods are rewritten")
    if (request.operation, request.sub_resource or "") not in (
        ("CREATE", ""),
        ("UPDATE", "ephemeralcontainers"),
    ):
        message = "only creation of Pods and new ephemeral containers are rewritten"
        return Admission(mode, message=message)
    if request.object is None or request.object.spec is None:
        return Admission(mode, message="there is no Pod in it")
    return None


def question_of(review: Review, policy: Policy, mode: Mode) -> Question:
    """
    Return what *review* asks, for a namespace in *mode*.
    """
    request = review.request
    subject = subject_of(request.object or Pod(), policy.labels, review.object_bytes)
    if request.operation == "CREATE":
        return Question(subject, mode)
    old = request.old_object.spec if request.old_object else None
    known = [container.name for container in (old and old.ephemeral_containers) or ()]
    return Question(subject, mode, tuple(known))


def admit(question: Question, policy: Policy, availability: Availability) -> Admission:
    """
    Decide about the images that an operation brings: all on CREATE, new ephemeral ones on UPDATE.
    """
    subject, mode = question.subject, question.mode
    fields = tuple(image_fields(subject.spec))
    if question.known is not None:
        known = frozenset(question.known)  # A review may bring twenty thousand of both.
        fields = tuple(
            [
                field
                for field in fields
                if field.place is Place.EPHEMERAL_CONTAINERS and field.name not in known
            ]
        )
    images = decide_subject(subject, policy, availability, fields)
    if mode == "audit":
        return Admission.of(mode, images, warnings=_warnings(images, policy.rules.harbor_host))
    return Admission.of(mode, images, patch=build_patch(subject, images, policy.pull_secrets))


def leave_alone(review: Review, mode: Mode, error: Exception) -> Admission:
    """
    Return the admission of a Pod that is left alone because of an *error* of ours.
    """
    return _unread(review, mode, f"left alone after an internal error ({type(error).__name__})")


def _unread(review: Review, mode: Mode, message: str) -> Admission:
    """
    Return the admission of a Pod that could not be read or decided about, as far as it was read.
    """
    spec = review.request.object.spec if review.request.object else None
    images = keep_all(image_fields(spec or PodSpec()), Reason.INTERNAL_ERROR)
    admission = Admission.of(mode, images, message=message)
    return replace(admission, audit_annotations={"kept": Reason.INTERNAL_ERROR.value})


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


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
