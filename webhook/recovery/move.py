"""
What recovery decides about a container that waits: it is moved, or left, or nothing is due yet.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from webhook.image.availability import Availability, State
from webhook.recovery.failure import PullFailure
from webhook.recovery.waiting import WaitingContainer


__all__ = ["Cause", "Health", "HealthSource", "Left", "LeftReason", "Move", "Plan", "Side"]


class Side(StrEnum):
    """
    Where a container's image is pulled from.
    """

    HARBOR = "harbor"
    UPSTREAM = "upstream"


class Cause(StrEnum):
    """
    Why a container is moved: the first four restore it, the others rescue it.
    """

    UNAVAILABLE = "project-unavailable"
    """Its pull failed, and Harbor or the project has been unavailable for a while."""
    HANGS = "pull-hangs"
    """Its pull neither fails nor ends, and the project has been unavailable for a while."""
    FAILS = "pull-fails"
    """Its pull keeps failing although Harbor is there."""
    FORMER_RULE = "former-rule"
    """Its pull keeps failing, and the config no longer names the project that it comes from."""
    UPSTREAM_LIMITED = "upstream-limited"
    """The upstream's rate limit is reached."""
    UPSTREAM_UNREACHABLE = "upstream-unreachable"
    """The upstream gives no answer."""
    UPSTREAM_DENIED = "upstream-denied"
    """The upstream refuses the image."""
    UPSTREAM_ABSENT = "upstream-absent"
    """The upstream no longer has the image."""
    UPSTREAM_FAILS = "upstream-fails"
    """The pull from the upstream keeps failing for a reason that nobody knows yet."""

    @classmethod
    def of_upstream(cls, failure: PullFailure) -> "Cause":
        """
        Return why a container is rescued whose pull from the upstream failed like this.
        """
        return _RESCUES.get(failure, cls.UPSTREAM_FAILS)


_RESCUES = {
    PullFailure.LIMITED: Cause.UPSTREAM_LIMITED,
    PullFailure.UNREACHABLE: Cause.UPSTREAM_UNREACHABLE,
    PullFailure.DENIED: Cause.UPSTREAM_DENIED,
    PullFailure.ABSENT: Cause.UPSTREAM_ABSENT,
}


class LeftReason(StrEnum):
    """
    Why a container is left as it is.
    """

    RECORD_MISMATCH = "record-mismatch"
    """The rules do not make its image out of its record: someone else wrote one of the two."""
    IMAGE_VOLUME = "image-volume"
    """What can't be pulled is the image of a volume, which is immutable."""
    EPHEMERAL_CONTAINER = "ephemeral-container"
    """An ephemeral container is immutable."""
    TAKEN_BACK = "taken-back"
    """Somebody else undid this very move before."""


class Health(NamedTuple):
    """
    What is known of a project, and for how long that has been so, in seconds.
    """

    state: State
    seconds: float


class HealthSource(Protocol):
    """
    What is known of Harbor; `webhook.harbor.monitor.Monitor` is one.
    """

    def since(self, project: str) -> tuple[State, float]:
        """
        Return a project's state, and for how many seconds it has been that.
        """

    def view(self) -> Availability:
        """
        Return what admission goes by.
        """


@dataclass(frozen=True, slots=True)
class Move:
    """
    One container that is sent to another source now.

    Attributes:
        container: the container, as it was seen.
        to: the source: ``UPSTREAM`` for a restore, ``HARBOR`` for a rescue.
        image: what its image becomes.
        identity: the image under its registry's main name, as in the quarantine.
        project: the project of Harbor that serves it, or should have.
        state: the project's state at the decision.
        cause: why.
        foreign: the image leads to a former address of Harbor, or to a project that the config no
            longer names: its failure says nothing about Harbor as it is now.
    """

    container: WaitingContainer
    to: Side
    image: str
    identity: str
    project: str
    state: State
    cause: Cause
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """
    One container that waits for a pull and is left as it is, for a reason that people can mend.

    Attributes:
        container: the container.
        reason: why.
        image: the image that can't be pulled.
        original: where it would come from otherwise, as far as the rules tell; or empty.
    """

    container: WaitingContainer
    reason: LeftReason
    image: str
    original: str


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What to do about one Pod now.

    Attributes:
        moves: containers to be moved now, in one patch.
        left: containers to be told about, once.
        later: containers that would be moved, but for the ladder or the quiet window; they wait.
        audited: containers that would be rescued now, were their namespace not in audit mode.
    """

    moves: tuple[Move, ...] = ()
    left: tuple[Left, ...] = ()
    later: tuple[Move, ...] = ()
    audited: tuple[Move, ...] = ()
