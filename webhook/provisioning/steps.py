"""
What a plan is made of: each kind of step is a type, and holds all that it takes to do it.

A step makes or changes one thing.  What a step shows never holds a secret; what it sends is left
out of its representation.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from webhook.config.provisioning import GarbageCollection, Retention
from webhook.provisioning.desired import DesiredEndpoint, DesiredProject, DesiredRobot


__all__ = [
    "Action",
    "ChangeEndpoint",
    "ChangeProject",
    "ChangeRobot",
    "ChangeSchedule",
    "Configure",
    "CreateEndpoint",
    "CreateProject",
    "CreateRobot",
    "CreateSchedule",
    "Keep",
    "Kind",
    "Plan",
    "Refuse",
    "SetQuota",
    "SetRetention",
    "Step",
    "Write",
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """
    What people see of a step.

    Attributes:
        details: what is different.
        risks: what to know before it is applied, or about what is kept.
    """

    name: str
    details: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateEndpoint(_Shown):
    """
    Make a registry endpoint.
    """

    kind: ClassVar = Kind.ENDPOINT
    action: ClassVar = Action.CREATE
    endpoint: DesiredEndpoint = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEndpoint(_Shown):
    """
    Change fields of a registry endpoint.
    """

    kind: ClassVar = Kind.ENDPOINT
    action: ClassVar = Action.CHANGE
    number: int
    fields: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateProject(_Shown):
    """
    Make a proxy project; it gets its quota with it.
    """

    kind: ClassVar = Kind.PROJECT
    action: ClassVar = Action.CREATE
    project: DesiredProject = field(repr=False)
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeProject(_Shown):
    """
    Change metadata of a project.
    """

    kind: ClassVar = Kind.PROJECT
    action: ClassVar = Action.CHANGE
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetQuota(_Shown):
    """
    Set a project's quota, in bytes.
    """

    kind: ClassVar = Kind.QUOTA
    action: ClassVar = Action.CHANGE
    number: int
    storage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRetention(_Shown):
    """
    Give a project this retention policy, whichever it has by then.
    """

    kind: ClassVar = Kind.RETENTION
    action: ClassVar = Action.CHANGE
    policy: Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRobot(_Shown):
    """
    Make the robot account, and write its secret.
    """

    kind: ClassVar = Kind.ROBOT
    action: ClassVar = Action.CREATE
    robot: DesiredRobot


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRobot(_Shown):
    """
    Make the robot account what it should be, then see whether its secret logs in.

    A secret that does not is renewed, and not before: nodes hold the present one.

    Attributes:
        account: its whole name, as Harbor has it.
        update: whether the account itself is changed.
    """

    kind: ClassVar = Kind.ROBOT
    action: ClassVar = Action.CHANGE
    robot: DesiredRobot
    number: int
    account: str
    update: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSchedule(_Shown):
    """
    Set a schedule of the garbage collection where there is none.
    """

    kind: ClassVar = Kind.GARBAGE_COLLECTION
    action: ClassVar = Action.CREATE
    schedule: GarbageCollection


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSchedule(_Shown):
    """
    Change the schedule of the garbage collection.

    Attributes:
        workers: how many workers somebody gave it, which the config says nothing about.
    """

    kind: ClassVar = Kind.GARBAGE_COLLECTION
    action: ClassVar = Action.CHANGE
    schedule: GarbageCollection
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure(_Shown):
    """
    Set these keys of Harbor's configuration.
    """

    kind: ClassVar = Kind.OIDC
    action: ClassVar = Action.CHANGE
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep(_Shown):
    """
    Nothing to do: it is as it is desired.
    """

    action: ClassVar = Action.KEEP
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(_Shown):
    """
    It can't be made so; the details say why, and what to do.
    """

    action: ClassVar = Action.REFUSE
    kind: Kind


Write = (
    CreateEndpoint
    | ChangeEndpoint
    | CreateProject
    | ChangeProject
    | SetQuota
    | SetRetention
    | CreateRobot
    | ChangeRobot
    | CreateSchedule
    | ChangeSchedule
    | Configure
)
Step = Write | Keep | Refuse


@dataclass(frozen=True, slots=True)
class Plan:
    """
    All steps, in the order in which they are applied.

    Attributes:
        notes: what was seen in Harbor besides, and is nobody's step.
        read_only: whether Harbor refuses every change at present.
    """

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def refused(self) -> tuple[Refuse, ...]:
        """
        Return what can't be made so.
        """
        return tuple(step for step in self.steps if isinstance(step, Refuse))

    @property
    def writes(self) -> tuple[Write, ...]:
        """
        Return what changes something.
        """
        return tuple(step for step in self.steps if not isinstance(step, Keep | Refuse))

    @property
    def is_empty(self) -> bool:
        """
        Tell whether Harbor is as it is desired.
        """
        return not self.refused and not self.writes

    def as_json(self) -> dict[str, Any]:
        """
        Return the plan as programs read it.
        """
        counts = Counter(step.action for step in self.steps)
        return {
            "difference": not self.is_empty,
            **{str(action): counts[action] for action in Action},
            "readOnly": self.read_only,
            "notes": list(self.notes),
            "steps": [
                {
                    "action": step.action,
                    "kind": step.kind,
                    "name": step.name,
                    "details": list(step.details),
                    "risks": list(step.risks),
                }
                for step in self.steps
            ],
        }
