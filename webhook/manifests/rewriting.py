"""
Which texts within a manifest are replaced, and by what.
"""

import json
import re

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from webhook.image.availability import Availability
from webhook.manifests.pods import Path, find, parse_path
from webhook.manifests.tree import Alias, Mapping, Node, Scalar, Sequence, position, read_documents
from webhook.pod.decision import Policy, decide_pod


__all__ = ["Change", "Path", "Rewritten", "parse_path", "rewrite_text"]

# What may stand without quotes wherever a scalar may, flow style included, and is a string.
_PLAIN: Final = re.compile(r"[a-z][A-Za-z0-9._/@-]*(?::[A-Za-z0-9._/@-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Change:
    """
    One image that is replaced.

    Attributes:
        line: where it stands, counted from one.
        column: counted from one.
        image: what stood there.
        result: what stands there now.
    """

    line: int
    column: int
    image: str
    result: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """
    A manifest after its images were replaced, and which these were.
    """

    text: str
    changes: tuple[Change, ...]


def rewrite_text(
    text: str, policy: Policy, availability: Availability, paths: tuple[Path, ...] = ()
) -> Rewritten:
    """
    Replace the images in *text* that an admission would rewrite.

    Args:
        text: a stream of YAML or JSON documents.
        policy: what decides about Pods.
        availability: what is known of Harbor.
        paths: where kinds that are not Kubernetes' own hold Pods or images.

    Raises:
        ManifestError: where *text* can't be read.
    """
    edits: dict[tuple[int, int], str] = {}
    changes: list[Change] = []
    for document in read_documents(text):
        wanted = _wanted(document, policy, availability, paths)
        for node, (image, result) in wanted.items():
            changes.append(Change(*position(text, node.start), image, result))
        for node, value in _replacements(document, {n: r for n, (_, r) in wanted.items()}):
            edits[node.start, node.end] = _written(node, value, text)
    pieces, end = [], 0
    for (start, stop), piece in sorted(edits.items()):
        pieces += [text[end:start], piece]
        end = stop
    changes.sort(key=lambda change: (change.line, change.column))
    return Rewritten("".join((*pieces, text[end:])), tuple(changes))


def _wanted(
    document: Node, policy: Policy, availability: Availability, paths: tuple[Path, ...]
) -> dict[Scalar | Alias, tuple[str, str]]:
    """
    Return what stands, and what is to stand, at each place of an image that is rewritten.
    """
    wanted: dict[Scalar | Alias, tuple[str, str]] = {}
    for found in find(document, paths):
        for image in decide_pod(found.pod, policy, availability):
            if image.outcome == "rewritten":
                wanted[found.at(image.field)] = (image.field.image, image.result)
    return wanted


def _replacements(
    document: Node, wanted: dict[Scalar | Alias, str]
) -> Iterator[tuple[Scalar | Alias, str]]:
    """
    Yield which nodes are written anew.

    An anchored image changes for all its aliases.  Those that are no image keep their value, so
    it is written out there; and where the anchor itself is no image, its aliases that are one are
    written out.
    """
    for node, result in wanted.items():
        if isinstance(node, Scalar):
            yield node, result
    for alias in _aliases(document):
        target = alias.target
        if isinstance(target, Scalar):
            value = wanted.get(alias, target.value)
            if value != wanted.get(target, target.value):
                yield alias, value


def _aliases(document: Node) -> Iterator[Alias]:
    stack = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, Alias):
            yield node
        elif isinstance(node, Sequence):
            stack += node.items
        elif isinstance(node, Mapping):
            stack += [part for entry in node.entries for part in entry]


def _written(node: Scalar | Alias, value: str, text: str) -> str:
    """
    Return *value* in the style in which *node* stands in the text.
    """
    style = node.style if isinstance(node, Scalar) else ""
    old = text[node.start : node.end]
    if style == '"':
        return json.dumps(value)
    if style == "'":
        return f"'{value}'"
    if style in ("|", ">") and isinstance(node, Scalar):
        # An image has no white space in it, so it stands on one line; what follows is blank.
        content = old.rstrip()
        return content[: len(content) - len(node.value)] + value + old[len(content) :]
    return value if _PLAIN.fullmatch(value) else json.dumps(value)
