"""
Where manifests hold Pods and Pod templates, and how these look to a decision.
"""

import re

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from webhook.errors import ManifestError
from webhook.manifests.tree import Alias, Mapping, Node, Scalar, Sequence
from webhook.pod.model import (
    Container,
    ImageField,
    ImageVolumeSource,
    Metadata,
    OwnerReference,
    Place,
    Pod,
    PodSpec,
    Volume,
)


__all__ = ["Found", "Path", "find", "parse_path"]

# (group, kind) → where its Pod or Pod template stands, as a path of keys.
_TEMPLATE: Final = ("spec", "template")
_PLACES: Final = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("extensions", "Deployment"): _TEMPLATE,
    ("extensions", "DaemonSet"): _TEMPLATE,
    ("extensions", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}

_MERGE: Final = "<<"
_MAX_DEPTH: Final = 8
_CONTAINERS: Final = (Place.CONTAINERS, Place.INIT_CONTAINERS, Place.EPHEMERAL_CONTAINERS)
_PATH: Final = re.compile(
    r"(?:(?P<kind>[A-Za-z0-9]+):)?(?P<keys>[^:\[\].]+(?:\[\*?\])?(?:\.[^:\[\].]+(?:\[\*?\])?)*)"
)


@dataclass(frozen=True, slots=True)
class Path:
    """
    Where kinds that we don't know hold images, as the user says.

    Attributes:
        kind: the only kind that it holds for, or empty for all.
        keys: the keys from the top; a key of a list is followed by an empty string.
    """

    kind: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """
    A Pod or Pod template in a manifest, or a single image that a path led to.

    Attributes:
        pod: what a decision is made from.
        nodes: where each image of it stands in the text, by list and position.
    """

    pod: Pod
    nodes: dict[tuple[Place, int], Scalar | Alias]

    def at(self, field: ImageField) -> Scalar | Alias:
        """
        Return the place of *field* in the text.
        """
        return self.nodes[field.place, field.index]


def parse_path(text: str) -> Path:
    """
    Read a path such as ``spec.image``, ``spec.steps[].image`` or ``Kafka:spec.template.pod``.

    Raises:
        ManifestError: if it is none.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        raise ManifestError(
            f"{text!r} is no path; write spec.image, spec.steps[].image or Kind:spec.template"
        )
    keys: list[str] = []
    for part in match["keys"].split("."):
        name, bracket, _ = part.partition("[")
        keys.append(name)
        if bracket:
            keys.append("")
    return Path(match["kind"] or "", tuple(keys))


def find(document: Node, paths: tuple[Path, ...]) -> Iterator[Found]:
    """
    Yield what *document* holds: a kind with Pods in it, a list of such, or what *paths* lead to.
    """
    yield from _find(document, paths, set(), 0)


def _find(node: Node, paths: tuple[Path, ...], seen: set[int], depth: int) -> Iterator[Found]:
    mapping = _mapping(node)
    if mapping is None or id(mapping) in seen or depth > _MAX_DEPTH:
        return
    seen.add(id(mapping))
    kind = _text(mapping, "kind")
    version = _text(mapping, "apiVersion")
    group = version.partition("/")[0] if "/" in version else ""
    keys = _PLACES.get((group, kind))
    if keys is not None:
        yield from _pods(_follow(mapping, keys))
    elif kind.endswith("List") and (items := _sequence(_get(mapping, "items"))):
        for item in items.items:
            yield from _find(item, paths, seen, depth + 1)
    else:
        for path in paths:
            if path.kind in ("", kind):
                yield from _pods(_follow(mapping, path.keys))


def _follow(node: Node, keys: tuple[str, ...]) -> Iterator[Node]:
    """
    Yield the nodes that *keys* lead to; several where a list is on the way.
    """
    if not keys:
        yield node
    elif keys[0]:
        for value in _all(_mapping(node), keys[0]):
            yield from _follow(value, keys[1:])
    elif sequence := _sequence(node):
        for item in sequence.items:
            yield from _follow(item, keys[1:])


def _pods(nodes: Iterator[Node]) -> Iterator[Found]:
    for node in nodes:
        target = node.target if isinstance(node, Alias) else node
        if isinstance(target, Scalar):
            yield _single(node, target)
        elif isinstance(target, Mapping):
            # A Pod spec, where a path led to one; else a Pod or a template, with metadata.
            bare = any(_all(target, place) for place in _CONTAINERS)
            spec = target if bare else _mapping(_get(target, "spec"))
            if spec is not None:
                yield _pod(Mapping() if bare else target, spec)


def _single(node: Node, scalar: Scalar) -> Found:
    """
    Wrap one image as a Pod, so that it is decided like any other.
    """
    if not scalar.is_string or isinstance(node, Mapping | Sequence):
        return Found(Pod(), {})
    pod = Pod(spec=PodSpec(containers=(Container(name="image", image=scalar.value),)))
    return Found(pod, {(Place.CONTAINERS, 0): node})


def _pod(whole: Mapping, spec: Mapping) -> Found:
    nodes: dict[tuple[Place, int], Scalar | Alias] = {}
    lists: dict[Place, list[Container]] = {}
    for place in _CONTAINERS:
        for index, item in enumerate(_items(spec, place)):
            image = _image(item, "image")
            if image is not None:
                nodes[place, index] = image
            container = Container(
                name=_text(item, "name"),
                image=_value(image),
                image_pull_policy=_text(item, "imagePullPolicy"),
            )
            lists.setdefault(place, []).append(container)
    volumes: list[Volume] = []
    for index, item in enumerate(_items(spec, Place.VOLUMES)):
        volume = _mapping(_get(item, "image"))
        image = _image(volume, "reference")
        if image is not None:
            nodes[Place.VOLUMES, index] = image
        source = ImageVolumeSource(
            reference=_value(image), pull_policy=_text(volume, "pullPolicy")
        )
        volumes.append(Volume(name=_text(item, "name"), image=source))
    pod = Pod(
        metadata=_metadata(_mapping(_get(whole, "metadata"))),
        spec=PodSpec(
            containers=tuple(lists.get(Place.CONTAINERS, ())),
            init_containers=tuple(lists.get(Place.INIT_CONTAINERS, ())),
            ephemeral_containers=tuple(lists.get(Place.EPHEMERAL_CONTAINERS, ())),
            volumes=tuple(volumes),
        ),
    )
    return Found(pod, nodes)


def _metadata(metadata: Mapping | None) -> Metadata:
    owners = [
        OwnerReference(api_version=_text(owner, "apiVersion"), kind=_text(owner, "kind"))
        for owner in _items(metadata, "ownerReferences")
    ]
    return Metadata(
        labels=_texts(_mapping(_get(metadata, "labels"))),
        annotations=_texts(_mapping(_get(metadata, "annotations"))),
        owner_references=tuple(owners),
    )


def _image(mapping: Mapping | None, key: str) -> Scalar | Alias | None:
    node = _get(mapping, key)
    target = node.target if isinstance(node, Alias) else node
    if isinstance(node, Scalar | Alias) and isinstance(target, Scalar) and target.is_string:
        return node
    return None


def _value(node: Node | None) -> str | None:
    target = node.target if isinstance(node, Alias) else node
    return target.value if isinstance(target, Scalar) else None


def _all(mapping: Mapping | None, key: str, depth: int = 0) -> list[Node]:
    """
    Return the values of *key*, the last of which counts; else those of merged mappings.
    """
    if mapping is None or depth > _MAX_DEPTH:
        return []
    found, merged = [], []
    for name, value in mapping.entries:
        if isinstance(name, Scalar) and name.value == key:
            found.append(value)
        elif isinstance(name, Scalar) and name.value == _MERGE and not name.style:
            merged.append(value)
    if found:
        return found
    for value in merged:
        several = _sequence(value)
        for base in several.items if several else [value]:
            if inherited := _all(_mapping(base), key, depth + 1):
                return inherited
    return []


def _get(mapping: Mapping | None, key: str) -> Node | None:
    values = _all(mapping, key)
    return values[-1] if values else None


def _text(mapping: Mapping | None, key: str) -> str:
    return _value(_get(mapping, key)) or ""


def _texts(mapping: Mapping | None) -> dict[str, str]:
    if mapping is None:
        return {}
    return {
        key.value: _value(value) or "" for key, value in mapping.entries if isinstance(key, Scalar)
    }


def _items(mapping: Mapping | None, key: str) -> list[Mapping]:
    """
    Return the mappings in a list; what is none is an empty one, so that positions hold.
    """
    sequence = _sequence(_get(mapping, key))
    return [_mapping(item) or Mapping() for item in sequence.items] if sequence else []


def _mapping(node: Node | None) -> Mapping | None:
    target = node.target if isinstance(node, Alias) else node
    return target if isinstance(target, Mapping) else None


def _sequence(node: Node | None) -> Sequence | None:
    target = node.target if isinstance(node, Alias) else node
    return target if isinstance(target, Sequence) else None
