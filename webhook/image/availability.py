"""
What we know of Harbor and its projects at one moment.

A review is decided from such a value, in memory.  Whatever is not known to be good counts as bad:
the image is left alone then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self


__all__ = ["UNKNOWN", "Availability", "State"]


class State(StrEnum):
    """
    What Harbor, or one of its projects, can do for a pull.
    """

    UNKNOWN = "unknown"
    """Never seen, or not seen for too long."""
    AVAILABLE = "available"
    CACHE_ONLY = "cache-only"
    """The project's upstream is down: Harbor serves what it has cached, and nothing else."""
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Availability:
    """
    A snapshot that a decision is made from.

    Attributes:
        harbor: the state of Harbor as a whole: never ``CACHE_ONLY``.
        projects: the state of each project, by its name.
        quarantined: originals (see `webhook.image.rules.Rules.original`) that Harbor could not serve.
    """

    harbor: State = State.UNKNOWN
    projects: Mapping[str, State] = field(default_factory=lambda: MappingProxyType({}))
    quarantined: frozenset[str] = frozenset()

    @classmethod
    def of_all(cls, projects: tuple[str, ...]) -> Self:
        """
        Return a snapshot in which Harbor and all *projects* are available.
        """
        states = dict.fromkeys(projects, State.AVAILABLE)
        return cls(State.AVAILABLE, MappingProxyType(states))

    def project(self, name: str) -> State:
        """
        Return the state of a project; one that was never looked at is unknown.
        """
        return self.projects.get(name, State.UNKNOWN)


UNKNOWN: Final = Availability()
"""
Nothing is known: every image is left alone.
"""
