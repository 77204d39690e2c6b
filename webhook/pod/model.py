"""
Where a Pod, or a Pod template, names images.

The structs hold only what is needed, and `msgspec` skips the rest of the JSON without making
objects of it.  A Pod is never written back from them: what we don't know stays as it is.

What is made for each review, here as in the rest of the core, is a `msgspec.Struct`: it takes a
fifth of the time of a dataclass.  What is made once, from the config, is a dataclass.
"""

import re

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final, TypeVar

from msgspec import Meta, Struct


__all__ = [
    "MAX_ANNOTATION_BYTES",
    "MAX_POD_BYTES",
    "MIRROR_ANNOTATION",
    "MODE_LABEL",
    "RECORD_PREFIX",
    "REWRITTEN_LABEL",
    "Container",
    "ImageField",
    "Metadata",
    "OwnerReference",
    "Place",
    "Pod",
    "PodSpec",
    "Volume",
    "image_fields",
    "is_recordable",
]

MAX_POD_BYTES: Final = 1024 * 1024
"""
Larger Pods are left alone: etcd takes 1.5 MiB, and one annotation more could be one too many.
"""

MAX_ANNOTATION_BYTES: Final = (256 - 8) * 1024
"""
The most that all annotations of a Pod may take with our records among them.

The API server refuses an object with more than 256 KiB (``TotalAnnotationSizeLimitB`` in
``k8s.io/apimachinery/pkg/api/validation``).  Other webhooks come after this one and add some, too:
8 KiB stay free for them.
"""

MODE_LABEL: Final = "harbor-cache.io/mode"
"""
On a namespace ``enforce`` or ``audit``; on a Pod ``off``.
"""

REWRITTEN_LABEL: Final = "harbor-cache.io/rewritten"
"""
On Pods that were rewritten, with the value ``true``; the controller watches by it.
"""

RECORD_PREFIX: Final = "original.harbor-cache.io/"
"""
Followed by a container's name: the annotation that records its original image.
"""

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
"""
On the API server's copy of a static Pod; the kubelet runs the original, whatever the copy says.
"""

# A container's name is a DNS label; only then does it fit behind the prefix of an annotation.
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_MAX_DNS_LABEL: Final = 63


_MAX_ITEMS: Final = 20_000
"""
More containers or volumes fit into no Pod that etcd takes (1.5 MiB).
"""

_Item = TypeVar("_Item")

_List = Annotated[tuple[_Item, ...], Meta(max_length=_MAX_ITEMS)]


class _Model(Struct, rename="camel", frozen=True, gc=False):
    """
    A part of a Pod; it can't hold a cycle, so the garbage collector need not look at it.
    """


class Container(_Model, frozen=True):
    """
    A container, an init container or an ephemeral container.
    """

    name: str = ""
    image: str | None = None
    image_pull_policy: str | None = None


class ImageVolumeSource(_Model, frozen=True):
    """
    The image behind a volume.
    """

    reference: str | None = None
    pull_policy: str | None = None


class Volume(_Model, frozen=True):
    """
    A volume; most have no image.
    """

    name: str = ""
    image: ImageVolumeSource | None = None


class LocalObjectReference(_Model, frozen=True):
    """
    A Secret's name.
    """

    name: str = ""


class PodSpec(_Model, frozen=True):
    """
    The part of a Pod that a Pod template has as well.
    """

    containers: _List[Container] | None = None
    init_containers: _List[Container] | None = None
    ephemeral_containers: _List[Container] | None = None
    volumes: _List[Volume] | None = None
    image_pull_secrets: _List[LocalObjectReference] | None = None


class OwnerReference(_Model, frozen=True):
    """
    What a Pod belongs to; its name differs from Pod to Pod, and is nothing to us.
    """

    api_version: str = ""
    kind: str = ""


class Metadata(_Model, frozen=True):
    """
    A Pod's metadata.
    """

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: _List[OwnerReference] | None = None


class Pod(_Model, frozen=True):
    """
    A Pod, as far as it concerns us.
    """

    metadata: Metadata | None = None
    spec: PodSpec | None = None


class Place(StrEnum):
    """
    The list of a Pod's spec in which an image stands.
    """

    CONTAINERS = "containers"
    INIT_CONTAINERS = "initContainers"
    EPHEMERAL_CONTAINERS = "ephemeralContainers"
    VOLUMES = "volumes"


class ImageField(Struct, frozen=True, gc=False):
    """
    One place where an image is named.

    Attributes:
        place: which list it stands in.
        index: the position in that list.
        name: the container's or the volume's name.
        image: what stands there, as it stands there.
        pull_policy: when the image is pulled, if the Pod says so.
    """

    place: Place
    index: int
    name: str
    image: str
    pull_policy: str | None = None

    @property
    def pointer(self) -> str:
        """
        Return the JSON Pointer (RFC 6901) of the image within the Pod.
        """
        head, leaf = _POINTERS[self.place]
        return f"{head}{self.index}{leaf}"


# Put together once: to ask an enumeration for its text takes as long as all the rest.
_POINTERS: Final = {
    place: (f"/spec/{place}/", "/image/reference" if place is Place.VOLUMES else "/image")
    for place in Place
}


def image_fields(spec: PodSpec) -> Iterator[ImageField]:
    """
    Yield every image that *spec* names: containers, init and ephemeral containers, volumes.
    """
    for place, containers in (
        (Place.CONTAINERS, spec.containers),
        (Place.INIT_CONTAINERS, spec.init_containers),
        (Place.EPHEMERAL_CONTAINERS, spec.ephemeral_containers),
    ):
        for index, container in enumerate(containers or ()):
            if container.image is not None:
                yield ImageField(
                    place, index, container.name, container.image, container.image_pull_policy
                )
    for index, volume in enumerate(spec.volumes or ()):
        source = volume.image
        if source is not None and source.reference is not None:
            yield ImageField(
                Place.VOLUMES, index, volume.name, source.reference, source.pull_policy
            )


def is_recordable(container_name: str) -> bool:
    """
    Tell whether a container's original image can be recorded in an annotation.
    """
    # The API server checks names after us: one of a megabyte must not stay in the cache.
    return len(container_name) <= _MAX_DNS_LABEL and _is_dns_label(container_name)


# A cluster's Pods have the same few names of containers.
@lru_cache(maxsize=1024)
def _is_dns_label(name: str) -> bool:
    return _DNS_LABEL.fullmatch(name) is not None
