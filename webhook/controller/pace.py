"""
How fast Pods are put back: one limit for the whole cluster.
"""

import asyncio
import random
import time

from collections.abc import Callable
from typing import Final


__all__ = ["Pace"]

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
