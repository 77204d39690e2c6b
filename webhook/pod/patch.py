"""
The JSON Patch (RFC 6902) that makes a Pod pull through Harbor.

A patch that does not apply makes the API server refuse the Pod, whatever the failurePolicy.  So
every operation here is one that can't fail on the Pod it was built from: ``replace`` only where
the member was seen, ``add`` of a member otherwise, no ``test``, no ``remove``, and parents are
created where they are absent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from webhook.pod.model import RECORD_PREFIX, REWRITTEN_LABEL, ImageField, Metadata, Place, Pod


__all__ = ["MAX_ANNOTATION_BYTES", "Operation", "annotation_bytes", "build_patch", "records"]

MAX_ANNOTATION_BYTES: Final = 256 * 1024
"""
The most that all annotations of an object may take (``TotalAnnotationSizeLimitB`` in
``k8s.io/apimachinery/pkg/api/validation``).
"""

Operation = dict[str, Any]

Change = tuple[ImageField, str]
"""
An image, and what it becomes.
"""


def build_patch(
    pod: Pod, changes: Sequence[Change], pull_secrets: Sequence[str] = ()
) -> list[Operation]:
    """
    Return the operations that put *changes* into *pod*, with record, label and pull secrets.

    Ephemeral containers get neither record nor label: the API server discards changes of metadata
    that come through ``pods/ephemeralcontainers``.
    """
    if not changes:
        return []
    patch = [{"op": "replace", "path": field.pointer, "value": new} for field, new in changes]
    lasting = [c for c in changes if c[0].place is not Place.EPHEMERAL_CONTAINERS]
    if lasting:
        patch += _metadata(pod.metadata, records(lasting))
        patch += _pull_secrets(pod, pull_secrets)
    return patch


def records(changes: Sequence[Change]) -> dict[str, str]:
    """
    Return the annotations that record the original images of containers and init containers.

    An image volume has none: its reference is immutable, so there is nothing to go back to.
    """
    return {
        RECORD_PREFIX + field.name: field.image
        for field, _ in changes
        if field.place in (Place.CONTAINERS, Place.INIT_CONTAINERS)
    }


def annotation_bytes(annotations: Mapping[str, str]) -> int:
    """
    Return what *annotations* take, in bytes, as the API server counts it.
    """
    texts = (*annotations, *annotations.values())
    return sum([len(text) if text.isascii() else len(text.encode()) for text in texts])


def _metadata(metadata: Metadata | None, annotations: dict[str, str]) -> list[Operation]:
    labels = {REWRITTEN_LABEL: "true"}
    if metadata is None:
        value: dict[str, dict[str, str]] = {"labels": labels}
        if annotations:
            value["annotations"] = annotations
        return [{"op": "add", "path": "/metadata", "value": value}]
    return [
        *_members("/metadata/labels", metadata.labels, labels),
        *_members("/metadata/annotations", metadata.annotations, annotations),
    ]


def _members(
    path: str, present: Mapping[str, str] | None, wanted: dict[str, str]
) -> list[Operation]:
    if not wanted:
        return []
    if present is None:
        return [{"op": "add", "path": path, "value": wanted}]
    return [
        {"op": "add", "path": f"{path}/{_escape(key)}", "value": value}
        for key, value in wanted.items()
        if present.get(key) != value
    ]


def _pull_secrets(pod: Pod, wanted: Sequence[str]) -> list[Operation]:
    present = pod.spec.image_pull_secrets if pod.spec else None
    names = {secret.name for secret in present or ()}
    missing = [{"name": name} for name in dict.fromkeys(wanted) if name not in names]
    if not missing:
        return []
    path = "/spec/imagePullSecrets"
    if present is None:
        return [{"op": "add", "path": path, "value": missing}]
    return [{"op": "add", "path": f"{path}/-", "value": secret} for secret in missing]


def _escape(key: str) -> str:
    """
    Escape a member's name for a JSON Pointer (RFC 6901, section 3).
    """
    return key.replace("~", "~0").replace("/", "~1")
