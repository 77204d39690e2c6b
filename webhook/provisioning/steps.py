"""
What a plan is made of.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


__all__ = ["Action", "Kind", "Plan", "Step"]


class Action(StrEnum):
    """
    What is done about one thing.
    """

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    REFUSE = "refuse"


class Kind(StrEnum):
    """
    What a step is about, in the order in which one needs the other.
    """

    ENDPOINT = "registry endpoint"
    PROJECT = "project"
    QUOTA = "quota"
    RETENTION = "retention"
    ROBOT = "robot account"
    GARBAGE_COLLECTION = "garbage collection"
    OIDC = "OIDC login"


@dataclass(frozen=True, slots=True)
class Step:
    """
    One line of the plan.

    Attributes:
        details: what is different, for people; never a secret.
        risks: what to know before it is applied, or about what is kept.
        body: what a call needs beyond what is wanted, such as the fields that differ.
    """

    kind: Kind
    name: str
    action: Action
    details: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    body: tuple[tuple[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    All steps, in the order in which they are applied.
    """

    steps: tuple[Step, ...]

    @property
    def refused(self) -> tuple[Step, ...]:
        """
        Return what can't be made so.
        """
        return tuple(step for step in self.steps if step.action is Action.REFUSE)

    @property
    def writes(self) -> tuple[Step, ...]:
        """
        Return what changes something.
        """
        return tuple(s for s in self.steps if s.action in (Action.CREATE, Action.CHANGE))

    @property
    def is_empty(self) -> bool:
        """
        Tell whether Harbor is as it is wanted.
        """
        return not self.refused and not self.writes
