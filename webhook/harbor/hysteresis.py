"""
When we change our mind about Harbor or one of its projects: pure, from one finding to the next.

    unknown → available ⇄ unavailable

One success is enough to leave `unknown`; between the other two it takes as many findings in a row
as the thresholds say.  `cache-only` is a success of a lesser kind: it is entered and left by the
same thresholds.  Who fails again soon after a recovery has to prove more the next time.  So a
Harbor that flaps does not make our decisions flap with it.

One thing is decided sooner.  Where a look got no answer at all, new images are kept until the next
one gets any: a kept image costs nothing, and a pull that hangs stops all other pulls of its node.
"""

from dataclasses import dataclass, replace
from typing import Final

from webhook.image.availability import State


__all__ = ["Finding", "Thresholds", "Track"]

_MAX_RELAPSES: Final = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one look at Harbor or a project showed.

    Attributes:
        state: available, cache-only or unavailable.
        cause: why not available, in one word; empty where it is.
        why: the same as a sentence for people.
        answered: whether anything came back in time; a refused connection is an answer, too.
    """

    state: State
    cause: str = ""
    why: str = ""
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    How many findings in a row change our mind, and for how long a recovery is on probation.
    """

    failures: int
    successes: int
    probation: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Track:
    """
    What we hold of Harbor or a project, and what speaks against it.

    Attributes:
        state: what we hold, and what Pods that wait for their image are moved by.
        since: when that began, by the caller's clock.
        last: the last finding, whether we follow it already or not.
        against: how many findings in a row spoke for another state.
        relapses: how often it failed while on probation.
        probation_until: when the recovery is believed; in the past where there was none.
    """

    state: State = State.UNKNOWN
    since: float = 0.0
    last: Finding = Finding(State.UNKNOWN, why="not looked at yet")
    against: int = 0
    relapses: int = 0
    probation_until: float = float("-inf")

    @property
    def for_new_images(self) -> State:
        """
        What new images are decided from: no answer speaks against them at once.
        """
        if not self.last.answered and _serves(self.state):
            return State.UNAVAILABLE
        return self.state

    def after(self, finding: Finding, now: float, thresholds: Thresholds) -> "Track":
        """
        Return what we hold after *finding*.
        """
        if finding.state is self.state:
            return replace(self, last=finding, against=0)
        # A change of direction starts the count again, one between the kinds of success does not.
        same_side = _serves(finding.state) == _serves(self.last.state)
        against = self.against + 1 if same_side or self.against == 0 else 1
        if against < self._needed(finding.state, thresholds):
            return replace(self, last=finding, against=against)
        relapses, probation_until = self.relapses, self.probation_until
        if self.state is State.UNAVAILABLE:
            probation_until = now + thresholds.probation
        elif finding.state is State.UNAVAILABLE:
            relapses = min(relapses + 1, _MAX_RELAPSES) if now < probation_until else 0
        return Track(finding.state, now, finding, 0, relapses, probation_until)

    def _needed(self, wanted: State, thresholds: Thresholds) -> int:
        if wanted is State.UNAVAILABLE:
            return thresholds.failures
        if self.state is State.UNKNOWN:
            return 1
        if self.state is State.UNAVAILABLE:
            return thresholds.successes << self.relapses
        return thresholds.failures if wanted is State.CACHE_ONLY else thresholds.successes


def _serves(state: State) -> bool:
    return state in (State.AVAILABLE, State.CACHE_ONLY)
