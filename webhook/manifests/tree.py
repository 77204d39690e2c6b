"""
A document as a tree whose scalars know where they stand in the text.

YAML is read by libyaml's event parser, which resolves nothing: aliases stay aliases.  JSON is
read by the standard library's own scanner, since not all JSON is YAML to libyaml (surrogate pairs,
long keys).
"""

import re

from collections.abc import Iterator
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final, TypeAlias

import yaml

from webhook.errors import ManifestError


__all__ = [
    "MAX_DEPTH",
    "Alias",
    "Mapping",
    "Node",
    "Scalar",
    "Sequence",
    "position",
    "read_documents",
]

MAX_DEPTH: Final = 1_000
"""
How deep a document may be nested: libyaml takes time that grows with the square of the depth of
brackets, and no manifest comes near this.
"""


@dataclass(slots=True, eq=False)
class Scalar:
    """
    A scalar.

    Attributes:
        value: what it says.
        start: where its text begins, quotes included, anchor and tag not.
        end: where its text ends.
        style: ``"``, ``'``, ``|``, ``>``, or empty where it is plain.
        is_string: whether Kubernetes reads it as a string.
    """

    value: str
    start: int
    end: int
    style: str = ""
    is_string: bool = True


@dataclass(slots=True, eq=False)
class Alias:
    """
    A reference to an anchored node further up.
    """

    target: "Target"
    start: int
    end: int


@dataclass(slots=True, eq=False)
class Mapping:
    """
    A mapping, with keys in the order of the text; a key may stand there twice.
    """

    entries: list[tuple["Node", "Node"]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Sequence:
    """
    A sequence.
    """

    items: list["Node"] = field(default_factory=list)


Target: TypeAlias = Scalar | Mapping | Sequence
Node: TypeAlias = Target | Alias


def read_documents(text: str) -> Iterator[Node]:
    """
    Yield the documents of *text*, which is YAML or JSON; one after the other in both cases.

    Raises:
        ManifestError: where it is neither, naming line and column.
    """
    if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        try:
            yield from list(_read_json(text))
            return
        except (ValueError, RecursionError):
            pass  # YAML in braces: its parser has the better words if it is none either.
    yield from _read_yaml(text)


def position(text: str, index: int) -> tuple[int, int]:
    """
    Return line and column, both counted from one, of a place in *text*.
    """
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


# An anchor and a tag may stand in front of a scalar, in any order, on lines of their own.
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*(?:\s+(?:#[^\n]*\n\s*)*|$))*")
_RESOLVER: Final[Any] = yaml.resolver.Resolver()
_STRING_TAG: Final = "tag:yaml.org,2002:str"


def _read_yaml(text: str) -> Iterator[Node]:
    try:
        yield from _compose(text, yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.reader.ReaderError as error:
        index = error.position if isinstance(error.position, int) else 0
        line, column = position(text, index)
        raise ManifestError(
            f"line {line}, column {column}: no valid YAML: {error.reason}"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ManifestError(f"{where}no valid YAML: {error.problem}") from error
    except UnicodeEncodeError as error:
        line, column = position(text, error.start)
        raise ManifestError(f"line {line}, column {column}: a character that is none") from error


def _compose(text: str, events: Iterator[Any]) -> Iterator[Node]:
    """
    Build one tree per document from *events*, without recursion.
    """
    anchors: dict[str, Target] = {}
    open_nodes: list[tuple[Mapping | Sequence, list[Node]]] = []
    children: list[Node] = []
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            anchors, children = {}, []
        elif isinstance(event, yaml.DocumentEndEvent):
            yield from children
        elif isinstance(event, yaml.AliasEvent):
            children.append(_alias(event, anchors, text))
        elif isinstance(event, yaml.ScalarEvent):
            scalar = _scalar(event, text)
            children.append(scalar)
            if event.anchor:
                anchors[event.anchor] = scalar
        elif isinstance(event, yaml.CollectionStartEvent):
            node = Mapping() if isinstance(event, yaml.MappingStartEvent) else Sequence()
            if event.anchor:
                anchors[event.anchor] = node
            open_nodes.append((node, children))
            children = []
            if len(open_nodes) > MAX_DEPTH:
                mark = event.start_mark
                where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
                raise ManifestError(f"{where}nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            node, siblings = open_nodes.pop()
            if isinstance(node, Mapping):
                node.entries = list(zip(children[::2], children[1::2], strict=True))
            else:
                node.items = children
            siblings.append(node)
            children = siblings


def _alias(event: Any, anchors: dict[str, Target], text: str) -> Alias:
    start, end = event.start_mark.index, event.end_mark.index
    if event.anchor not in anchors:
        line, column = position(text, start)
        raise ManifestError(
            f"line {line}, column {column}: no valid YAML: unknown anchor {event.anchor!r}"
        )
    return Alias(anchors[event.anchor], start, end)


def _scalar(event: Any, text: str) -> Scalar:
    start, end = event.start_mark.index, event.end_mark.index
    if event.anchor or event.tag:
        properties = _PROPERTIES.match(text, start, end)
        start = properties.end() if properties else start
    if event.tag is None and not event.style:
        tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False))
    else:
        tag = _STRING_TAG if event.tag in (None, "!") else event.tag
    return Scalar(event.value, start, end, event.style or "", tag == _STRING_TAG)


_BLANK: Final = re.compile(r"[ \t\r\n]*")
_LITERAL: Final = re.compile(
    r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null", re.ASCII
)


def _read_json(text: str) -> Iterator[Node]:
    """
    Yield the JSON documents in *text*.

    Raises:
        ValueError: where it is none.
    """
    index = _skip(text, 1 if text.startswith("\ufeff") else 0)
    while index < len(text):
        node, index = _json_value(text, index)
        index = _skip(text, index)
        yield node


def _skip(text: str, index: int) -> int:
    match = _BLANK.match(text, index)
    return match.end() if match else index


def _json_value(text: str, index: int) -> tuple[Node, int]:
    character = text[index : index + 1]
    if character == '"':
        value, end = scanstring(text, index + 1, True)  # noqa: FBT003 - the C function's signature.
        return Scalar(value, index, end, '"'), end
    if character == "{":
        return _json_mapping(text, index)
    if character == "[":
        return _json_sequence(text, index)
    match = _LITERAL.match(text, index)
    if match is None:
        raise ValueError("no JSON")
    return Scalar(match[0], index, match.end(), is_string=False), match.end()


def _json_mapping(text: str, index: int) -> tuple[Node, int]:
    entries: list[tuple[Node, Node]] = []
    index = _skip(text, index + 1)
    while text[index : index + 1] != "}":
        if entries:
            index = _expect(text, index, ",")
        if text[index : index + 1] != '"':
            raise ValueError("no JSON")
        key, index = _json_value(text, index)
        index = _expect(text, _skip(text, index), ":")
        value, index = _json_value(text, index)
        entries.append((key, value))
        index = _skip(text, index)
    return Mapping(entries), index + 1


def _json_sequence(text: str, index: int) -> tuple[Node, int]:
    items: list[Node] = []
    index = _skip(text, index + 1)
    while text[index : index + 1] != "]":
        if items:
            index = _expect(text, index, ",")
        item, index = _json_value(text, index)
        items.append(item)
        index = _skip(text, index)
    return Sequence(items), index + 1


def _expect(text: str, index: int, character: str) -> int:
    if text[index : index + 1] != character:
        raise ValueError("no JSON")
    return _skip(text, index + 1)
