"""
The record: the annotation of a Pod that holds a container's original image.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from webhook.pod.model import RECORD_PREFIX, ImageField, Place


__all__ = ["MAX_ANNOTATION_BYTES", "annotation_bytes", "records"]

MAX_ANNOTATION_BYTES: Final = 256 * 1024
"""
The most that all annotations of an object may take (``TotalAnnotationSizeLimitB`` in
``k8s.io/apimachinery/pkg/api/validation``).
"""


def records(fields: Sequence[ImageField]) -> dict[str, str]:
    """
    Return the annotations that record the images of those *fields* that have a way back.

    An image volume's reference is immutable, and annotations that come through
    ``pods/ephemeralcontainers`` are discarded: neither has a record.
    """
    return {
        RECORD_PREFIX + field.name: field.image
        for field in fields
        if field.place in (Place.CONTAINERS, Place.INIT_CONTAINERS)
    }


def annotation_bytes(annotations: Mapping[str, str]) -> int:
    """
    Return what *annotations* take, in bytes, as the API server counts it.
    """
    texts = (*annotations, *annotations.values())
    return sum([len(text) if text.isascii() else len(text.encode()) for text in texts])
