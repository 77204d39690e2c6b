"""
What a decision about a Pod is made from: this, and nothing else.

Most of a Pod is its own: names, owners' names, labels and annotations of all kinds.  A `Subject`
holds only what is looked at.  It is frozen and hashable, so Pods of one shape have equal subjects,
and what was decided about one holds for the others.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from webhook.pod.model import (
    MAX_POD_BYTES,
    MIRROR_ANNOTATION,
    RECORD_PREFIX,
    Metadata,
    OwnerReference,
    Pod,
    PodSpec,
    Volume,
)


__all__ = ["About", "Subject", "annotation_bytes", "subject_of"]

_NO_SPEC: Final = PodSpec()
_NO_IMAGE: Final = Volume()

Texts = tuple[tuple[str, str], ...]


class About(Struct, frozen=True, gc=False):
    """
    What is looked at of a Pod's metadata.

    Attributes:
        labels: those labels that are asked for; None where the Pod has no member for labels.
        annotations: records and the mark of mirror Pods; None as for labels.
        annotation_bytes: what all annotations take.
        owners: what the Pod belongs to.
    """

    labels: Texts | None = None
    annotations: Texts | None = None
    annotation_bytes: int = 0
    owners: tuple[OwnerReference, ...] = ()


class Subject(Struct, frozen=True, gc=False):
    """
    What is looked at of a Pod, or of a Pod template.

    Attributes:
        spec: the spec; volumes stand in it only where one has an image, and then without the
            names of the others, since one (``kube-api-access-…``) is made up for each Pod.
        about: the metadata; None where there is none.
        is_large: whether the Pod is so large as JSON that it is left alone.
    """

    spec: PodSpec = _NO_SPEC
    about: About | None = None
    is_large: bool = False


def subject_of(pod: Pod, labels: Sequence[str], object_bytes: int = 0) -> Subject:
    """
    Return what is looked at of *pod*, of its labels only those that *labels* names.
    """
    spec = pod.spec or _NO_SPEC
    if spec.volumes:
        volumes = None
        if any(volume.image for volume in spec.volumes):
            volumes = tuple([v if v.image else _NO_IMAGE for v in spec.volumes])
        spec = replace(spec, volumes=volumes)
    about = None if pod.metadata is None else _about(pod.metadata, labels)
    return Subject(spec, about, object_bytes > MAX_POD_BYTES)


def _about(metadata: Metadata, asked: Sequence[str]) -> About:
    labels, annotations = metadata.labels, metadata.annotations
    return About(
        None if labels is None else tuple([(k, labels[k]) for k in asked if k in labels]),
        None if annotations is None else tuple([e for e in annotations.items() if _is_ours(e[0])]),
        annotation_bytes(annotations.items()) if annotations else 0,
        metadata.owner_references or (),
    )


def annotation_bytes(annotations: Iterable[tuple[str, str]]) -> int:
    """
    Return what *annotations* take, in bytes, as the API server counts it.
    """
    return sum([_bytes_of(key) + _bytes_of(value) for key, value in annotations])


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _is_ours(annotation: str) -> bool:
    return annotation.startswith(RECORD_PREFIX) or annotation == MIRROR_ANNOTATION
