"""
When a container that waits may be moved: its own history decides.

*The quiet window.*  A pull in progress can't be seen: the API shows the last back-off while the next
attempt already downloads, and a new image would kill the fresh container.  The kubelet waits 10 s
after a first failure, and twice as long after each further one, up to 300 s.  It may have failed
more often than was seen, never less: so the first part of that wait is safe.

*The rungs.*  Each further move waits twice as long as the one before, and for a fresh failure.  A
source that has spoken (absent, denied) is closed for a while, twice as long each time, and never for
ever.  A move that somebody else took back is not made again.
"""

from dataclasses import dataclass, replace
from typing import Final

from webhook.image.availability import State
from webhook.recovery.failure import PullFailure
from webhook.recovery.move import Cause, Health, Move, Side
from webhook.recovery.waiting import WaitingContainer, names


__all__ = ["Closed", "Memory", "Waits"]

_ATTEMPTS: Final = frozenset(
    {"ErrImagePull", "RegistryUnavailable", "SignatureValidationFailed", "ImageInspectError"}
)
"""
What the kubelet says right after an attempt; ``ImagePullBackOff`` comes later.
"""

_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class Waits:
    """
    How long everything waits, in seconds.

    Attributes:
        rung: a second move waits so long after the first; each further one twice as long.
        longest_rung: and never longer than this.
        closed: a source that has spoken is closed for so long at first, then twice as long.
        longest_closed: and never longer than this.
        back_off: the kubelet waits so long after a first failure (``pkg/kubelet``: 10 s).
        longest_back_off: and never longer than this (300 s).  It begins anew where the last
            failure is twice as long ago.
        quiet: the part of a back-off in which it is certain that the kubelet still waits, although
            a failure is seen later than it happens.
        hangs: a container without an ID counts as hanging in its pull after this time.
        refused: a refused patch is tried again after this time, then after twice as long.
        longest_refused: and never later than this.
    """

    rung: float = 30.0
    longest_rung: float = 600.0
    closed: float = 600.0
    longest_closed: float = 6 * 3600.0
    back_off: float = 10.0
    longest_back_off: float = 300.0
    quiet: float = 0.8
    hangs: float = 30.0
    refused: float = 5.0
    longest_refused: float = 300.0

    def before_move(self, moves: int) -> float:
        """
        Return how long after the last of *moves* the next one may come.
        """
        return _doubled(self.rung, moves, self.longest_rung)

    def closed_for(self, times: int) -> float:
        """
        Return how long a source stays closed that has been closed so many *times*.
        """
        return _doubled(self.closed, times, self.longest_closed)

    def quiet_for(self, failures: int) -> float:
        """
        Return how long nothing is pulled after so many *failures* that were seen in a row.
        """
        return self.quiet * _doubled(self.back_off, failures, self.longest_back_off)

    def before_retry(self, refusals: int) -> float:
        """
        Return how long after the last of so many *refusals* the next patch may be tried.
        """
        return _doubled(self.refused, refusals, self.longest_refused)


@dataclass(frozen=True, slots=True)
class Closed:
    """
    A source that has spoken about an image: since when, until when, and how often it was closed.
    """

    at: float
    until: float
    times: int


@dataclass(frozen=True, slots=True)
class Memory:
    """
    What is remembered of one container.  All times are of one clock, in seconds.

    Attributes:
        image: its image.
        before: the image that it had before.
        reason: why it waited when last seen; empty if it did not.
        named: the kubelet's message was about its own image.
        since: when its pull was first seen to fail.
        failures: how many attempts in a row were seen to fail.
        failed_at: when the last of them was seen to fail.
        failure: whose fault the last one was, as far as that was ever told.
        moves: how often it was moved.
        moved_at: when it was moved last.
        fresh: an attempt was seen to fail since.
        given: the image that the last move gave it; empty once somebody else has changed it.
        sent: the move whose patch is on its way, or was when the connection broke.
        taken_back: images that somebody else took back, and that it is never given again.
        harbor: how Harbor's side is closed.
        upstream: how the upstream's side is closed.
    """

    image: str = ""
    before: str = ""
    reason: str = ""
    named: bool = False
    since: float | None = None
    failures: int = 0
    failed_at: float | None = None
    failure: PullFailure | None = None
    moves: int = 0
    moved_at: float = 0.0
    fresh: bool = False
    given: str = ""
    sent: tuple[Side, str] | None = None
    taken_back: frozenset[str] = frozenset()
    harbor: Closed | None = None
    upstream: Closed | None = None

    def seen(
        self, container: WaitingContainer, now: float, waits: Waits, *, changed: bool
    ) -> "Memory":
        """
        Return the memory after *container* was seen to wait.

        Args:
            container: as it is now.
            now: when it was seen.
            waits: how long everything waits.
            changed: the API server has just told of this change; false for what was listed or
                read, of which nobody knows since when it has been so.
        """
        memory = self._with_image(container.image, now, waits)
        own = container.failing and (
            container.names_image or not names(container.message, memory.before)
        )
        attempted = (
            changed
            and own
            and container.reason in _ATTEMPTS
            and (container.reason != memory.reason or (container.names_image and not memory.named))
        )
        if own:
            since = now if memory.since is None else memory.since
            memory = replace(memory, since=since, failure=container.failure or memory.failure)
        if attempted:
            again = (
                memory.failed_at is not None
                # The kubelet forgets its back-off after twice the longest one.
                and now - memory.failed_at < 1.5 * waits.longest_back_off
                and container.reason != "ImageInspectError"
            )
            failures = memory.failures + 1 if again else 1
            memory = replace(memory, failures=failures, failed_at=now, fresh=True)
        return replace(memory, reason=container.reason, named=container.names_image)

    def shares(self, attempt: "Memory") -> "Memory":
        """
        Return the memory after *attempt*: another container's of the same Pod and image.

        The kubelet backs off by Pod and image (``pkg/kubelet/images``): of several containers only
        one is ever seen to fail, and one that comes later waits from its first moment on.
        """
        if attempt.failed_at is None or attempt.failed_at <= (self.failed_at or 0.0):
            return self
        return replace(
            self,
            failures=attempt.failures,
            failed_at=attempt.failed_at,
            fresh=self.fresh or attempt.failed_at > self.moved_at,
            failure=attempt.failure or self.failure,
        )

    def runs(self, image: str, now: float, waits: Waits) -> "Memory":
        """
        Return the memory after the container was seen not to wait for a pull.
        """
        return _anew(self._with_image(image, now, waits), image)

    def sending(self, move: Move) -> "Memory":
        """
        Return the memory while the patch of *move* is on its way.
        """
        return replace(self, sent=(move.to, move.image))

    def moved(self, to: Side, image: str, now: float, waits: Waits) -> "Memory":
        """
        Return the memory after the container was moved: what it leaves may be closed by that.
        """
        if self.given == image == self.image:
            return self  # The watch has told of it already.
        memory = self
        if self.failure is not None and self.failure.final:
            if to is Side.UPSTREAM:
                memory = replace(memory, harbor=_close(self.harbor, now, waits))
            else:
                memory = replace(memory, upstream=_close(self.upstream, now, waits))
        moved = replace(
            memory, before=self.image, moves=self.moves + 1, moved_at=now, given=image, sent=None
        )
        return replace(_anew(moved, image), reason=self.reason)

    def permits(self, move: Move, health: Health, now: float, waits: Waits) -> bool:
        """
        Tell whether *move* may be made now, while the project's health is *health*.
        """
        if self.moves and now < self.moved_at + waits.before_move(self.moves):
            return False
        if self.moves and not self.fresh and move.cause is not Cause.HANGS:
            return False
        if self._is_closed(move.to, health, now):
            return False
        if move.cause in (Cause.UNAVAILABLE, Cause.HANGS):
            return True  # Nothing can come of the pull that may be in progress.
        return self.is_quiet(now, waits)

    def is_quiet(self, now: float, waits: Waits) -> bool:
        """
        Tell whether it is certain that the kubelet pulls nothing for this container now.
        """
        if self.reason == "ErrImageNeverPull":
            return True
        if self.failed_at is None:
            return False
        return now < self.failed_at + waits.quiet_for(self.failures)

    def _is_closed(self, source: Side, health: Health, now: float) -> bool:
        closed = self.harbor if source is Side.HARBOR else self.upstream
        if closed is None or now >= closed.until:
            return False
        # Harbor says 404 and 401 for troubles of its own: what it said before it was seen to
        # recover counts no more.
        recovered = health.state is State.AVAILABLE and now - health.seconds > closed.at
        return source is Side.UPSTREAM or not recovered

    def _with_image(self, image: str, now: float, waits: Waits) -> "Memory":
        """
        Return the memory of the container with *image*: what is known of another one is forgotten.
        """
        if image == self.image:
            return self
        if self.sent is not None and image == self.sent[1]:
            # The answer to our patch was lost, or the watch was quicker.
            return self.moved(*self.sent, now, waits)
        taken_back = self.taken_back
        if self.given and image == self.before:
            taken_back |= {self.given}
        memory = replace(self, before=self.image, given="", sent=None, taken_back=taken_back)
        return _anew(memory, image)


def _anew(memory: Memory, image: str) -> Memory:
    """
    Return *memory* without anything that is about a pull, for *image*.
    """
    return replace(
        memory,
        image=image,
        reason="",
        named=False,
        since=None,
        failures=0,
        failed_at=None,
        failure=None,
        fresh=False,
    )


def _close(closed: Closed | None, now: float, waits: Waits) -> Closed:
    times = closed.times + 1 if closed else 1
    return Closed(now, now + waits.closed_for(times), times)


def _doubled(first: float, times: int, most: float) -> float:
    """
    Return *first* for the first time, and twice as much for each further one, up to *most*.
    """
    doublings = min(max(times, 1) - 1, _MOST_DOUBLINGS)
    return min(first * 2.0**doublings, most)
