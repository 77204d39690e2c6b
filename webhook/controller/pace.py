"""
Whose turn it is, and how fast: one limit for the whole cluster, and nobody waits for another.
"""

import asyncio
import random
import time

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Final


__all__ = ["Pace", "Turns"]

_JITTER: Final = 0.2


class Pace:
    """
    Lets one through at a time, so many per second at the most, with a little jitter.

    A registry that limits its clients must not meet the whole cluster at once.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._next = clock()

    async def turn(self) -> None:
        """
        Wait for one's turn.
        """
        now = self._clock()
        start = max(self._next, now)
        # Only ever slower than the limit.
        self._next = start + random.uniform(1, 1 + _JITTER) / self.per_second  # noqa: S311
        if start > now:
            await asyncio.sleep(start - now)

    def give_back(self) -> None:
        """
        Give a turn back of which nothing came: no image is pulled because of it.
        """
        self._next -= 1 / self.per_second


class Turns:
    """
    The Pods that are to be patched; namespaces take turns, those with trouble behind the others.

    Of a namespace in which the last patch was refused one Pod at a time is tried: a webhook that
    takes its time to refuse must not hold up everybody.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[str]] = {}
        self._busy: dict[str, int] = {}
        self._known: set[str] = set()
        self._troubled: set[str] = set()
        self._changed = asyncio.Event()

    def __contains__(self, uid: str) -> bool:
        return uid in self._known

    def __len__(self) -> int:
        return len(self._known)

    def put(self, namespace: str, uid: str) -> None:
        """
        Let a Pod wait for its turn.
        """
        self._known.add(uid)
        self._waiting.setdefault(namespace, deque()).append(uid)
        self._changed.set()

    async def ready(self) -> None:
        """
        Wait until there is one that may have its turn.
        """
        while self._choose() is None:
            self._changed.clear()
            await self._changed.wait()

    async def next(self) -> tuple[str, str]:
        """
        Wait for the next one, and return its namespace and uid; say `done` afterwards.
        """
        await self.ready()
        namespace = self._choose() or ""
        waiting = self._waiting.pop(namespace)
        uid = waiting.popleft()
        if waiting:
            self._waiting[namespace] = waiting  # At the end: the others come first now.
        self._busy[namespace] = self._busy.get(namespace, 0) + 1
        return namespace, uid

    def done(self, namespace: str, uid: str, *, refused: bool | None) -> None:
        """
        Take note that a Pod has had its turn, and whether it was *refused*; None if neither.
        """
        self._known.discard(uid)
        self._busy[namespace] -= 1
        if not self._busy[namespace]:
            del self._busy[namespace]
        if refused:
            self._troubled.add(namespace)
        elif refused is not None:
            self._troubled.discard(namespace)
        self._changed.set()

    def _choose(self) -> str | None:
        calm = (name for name in self._waiting if name not in self._troubled)
        troubled = (n for n in self._waiting if n in self._troubled and n not in self._busy)
        return next(chain(calm, troubled), None)
