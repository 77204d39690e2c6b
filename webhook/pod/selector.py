"""
Label selectors as people write them: ``app=web,tier notin (a, b),!legacy``.

The grammar is that of ``k8s.io/apimachinery/pkg/labels``, without ``<`` and ``>``, which selectors
of the API have not either.
"""

import re

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self


__all__ = ["Requirement", "Selector"]

_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_KEY: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*/)?{_NAME}"
_VALUE: Final = rf"(?:{_NAME})?"
# A comma, unless it stands in parentheses.
_COMMA: Final = re.compile(r",(?![^(]*\))")
_REQUIREMENT: Final = re.compile(
    rf"""
    \s*(?:
        (?P<absent>!\s*)?(?P<alone>{_KEY})
      | (?P<key>{_KEY})\s*(?P<equality>==?|!=)\s*(?P<value>{_VALUE})
      | (?P<member>{_KEY})\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)
    )\s*
    """,
    re.ASCII | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """
    What a selector asks of one label.

    Attributes:
        key: the label.
        values: what its value must be one of, or any value where it is None.
        negated: whether the opposite is asked for; a label that is absent meets that.
    """

    key: str
    values: frozenset[str] | None = None
    negated: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """
        Tell whether *labels* meet it.
        """
        holds = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return holds is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """
    Requirements that must all be met.
    """

    requirements: tuple[Requirement, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read a selector.

        Raises:
            ValueError: if it is none, asks for nothing, or for what no object can have.
        """
        if not text.strip():
            raise ValueError("is empty, which matches every Pod; write label=value")
        selector = cls(tuple(_parse_requirement(part, text) for part in _COMMA.split(text)))
        for key in dict.fromkeys(requirement.key for requirement in selector.requirements):
            if not _can_match([each for each in selector.requirements if each.key == key]):
                raise ValueError(f"{text!r} asks of the label {key!r} what no Pod can have")
        return selector

    def matches(self, labels: Mapping[str, str]) -> bool:
        """
        Tell whether *labels* meet all requirements.
        """
        return all(requirement.matches(labels) for requirement in self.requirements)


def _parse_requirement(part: str, text: str) -> Requirement:
    match = _REQUIREMENT.fullmatch(part)
    if match is None:
        raise ValueError(_wrong(text))
    if match["alone"]:
        return Requirement(match["alone"], negated=match["absent"] is not None)
    if match["key"]:
        return Requirement(match["key"], frozenset([match["value"]]), match["equality"] == "!=")
    values = frozenset(value.strip() for value in match["values"].split(","))
    if not all(re.fullmatch(_VALUE, value, re.ASCII) for value in values):
        raise ValueError(_wrong(text))
    return Requirement(match["member"], values, match["set"] == "notin")


def _can_match(requirements: list[Requirement]) -> bool:
    """
    Tell whether any value, or the absence, of one label meets all *requirements*.

    Trying each value that is named, one that is not, and no label at all covers every case.
    """
    key = requirements[0].key
    named = {value for each in requirements for value in each.values or ()}
    other = max(named, key=len, default="") + "x"
    candidates = [{}, *({key: value} for value in (*named, other))]
    return any(all(each.matches(labels) for each in requirements) for labels in candidates)


def _wrong(text: str) -> str:
    return (
        f"{text!r} is no label selector; write label=value, label!=value, label in (a,b),"
        " label notin (a,b), label or !label, with commas between several"
    )
