"""
How much of the bodies of reviews is held in memory at once, and for how long they are waited for.

Bodies take their room as it is needed, from a budget that all of a size share.  Where there is
none left, whoever sends slowly goes first: who sends promptly needs room for milliseconds only.
"""

import asyncio

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import StreamReader

from webhook.errors import HarborCacheError


__all__ = ["MAX_BODY_BYTES", "Bodies", "BodyTooLargeError", "Budget"]

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
"""
The largest review that is read: etcd's 1.5 MiB, six times over by HTML escapes, stays below.
"""

READ_SECONDS: Final = 10.0
"""
How long a client may take to send a large body, and to wait for its turn.
"""

SMALL_READ_SECONDS: Final = 3.0
"""
The same for a small one.  The API server itself waits two seconds in all.
"""

_LARGE_BODY_BYTES: Final = 256 * 1024
_LARGE_BODIES_BYTES: Final = 48 * 1024 * 1024
_LARGE_PROMPT_SECONDS: Final = 2.0
_SMALL_BODIES_BYTES: Final = 16 * 1024 * 1024
_SMALL_PROMPT_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.1


class BodyTooLargeError(HarborCacheError):
    """
    More was sent than a review may have.
    """


class Bodies:
    """
    Reads the bodies of reviews.
    """

    def __init__(self) -> None:
        self.large = Budget(_LARGE_BODIES_BYTES, _LARGE_PROMPT_SECONDS)
        self.small = Budget(_SMALL_BODIES_BYTES, _SMALL_PROMPT_SECONDS)

    @asynccontextmanager
    async def read(self, content: StreamReader, size: int) -> AsyncIterator[bytearray]:
        """
        Read a body of at most *size* bytes, which count for as long as the context lasts.

        Large ones never hold up small ones.  A large one gets all its room before it is read, or
        many half-read ones would wait for each other.  A small one takes room as it arrives: a
        promise alone holds none.

        Raises:
            TimeoutError: if the body did not arrive in time, or others needed its room.
            BodyTooLargeError: if it is longer than *size*.
        """
        large = size > _LARGE_BODY_BYTES
        seconds = READ_SECONDS if large else SMALL_READ_SECONDS
        body = bytearray()
        async with asyncio.timeout(seconds) as deadline:
            share = _Share(self.large if large else self.small, deadline)
            try:
                if large:
                    await share.take(size)
                    share.begin()
                while chunk := await content.readany():
                    if len(body) + len(chunk) > size:
                        raise BodyTooLargeError  # noqa: TRY301 - one place gives it all back.
                    if not large:
                        await share.take(len(chunk))
                    body += chunk
            except BaseException:
                share.give_back()
                raise
        share.is_complete()
        try:
            yield body
        finally:
            share.give_back()


class _Share:
    """
    What one body holds of a budget, for as long as its *deadline* is not over.
    """

    def __init__(self, budget: "Budget", deadline: asyncio.Timeout) -> None:
        self.size = 0
        self._is_cut_off = False
        self._budget = budget
        self._deadline = deadline
        self.begin()

    def begin(self) -> None:
        """
        Note that the client can send from now on.
        """
        self.begun = asyncio.get_running_loop().time()
        self._budget.shares.pop(self, None)
        self._budget.shares[self] = None

    async def take(self, size: int) -> None:
        """
        Take *size* bytes more, when they are free.
        """
        await self._budget.take(size, self)

    def is_complete(self) -> None:
        """
        Note that it is needed until the answer, and not to be taken away.
        """
        self._budget.shares.pop(self, None)

    def cut_off(self) -> None:
        """
        Let the deadline be over: others are in need of the room.
        """
        self._budget.shares.pop(self, None)
        self._budget.coming += self.size
        self._is_cut_off = True
        self._deadline.reschedule(0)

    def give_back(self) -> None:
        """
        Return all of it.
        """
        self._budget.shares.pop(self, None)
        if self._is_cut_off:
            self._budget.coming -= self.size
        self._budget.give_back(self.size)


class Budget:
    """
    The bytes that bodies in flight may take together.

    Attributes:
        shares: of bodies that are being read, the oldest first.
        coming: what those that were cut off hold still, for a turn of the loop.
    """

    def __init__(self, size: int, prompt_seconds: float) -> None:
        """
        Prepare to share *size* bytes; who takes longer than *prompt_seconds* sends slowly.
        """
        self.shares: dict[_Share, None] = {}
        self.coming = 0
        self._free = size
        self._prompt_seconds = prompt_seconds
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int, share: _Share) -> None:
        """
        Take *size* bytes for *share*, when they are free; who comes first is served first.
        """
        if self._waiting or self._free < size:
            await self._wait(size)
        else:
            self._free -= size
        share.size += size

    def give_back(self, size: int) -> None:
        """
        Return *size* bytes that were taken.
        """
        self._free += size
        self._serve()

    async def _wait(self, size: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            while not turn.done():
                self._serve()
                await asyncio.wait([turn], timeout=_LOOK_SECONDS)
        except BaseException:
            if turn.done():
                self.give_back(size)
            else:
                turn.cancel()
                self._serve()
            raise

    def _serve(self) -> None:
        """
        Give room to those that wait, in their order; make some for the first where there is none.
        """
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.done():  # It gave up waiting.
                self._waiting.popleft()
            elif wanted <= self._free:
                self._waiting.popleft()
                self._free -= wanted
                turn.set_result(None)
            else:
                self._cut_off_slow(wanted - self._free - self.coming)
                return

    def _cut_off_slow(self, size: int) -> None:
        """
        Take *size* bytes from those that send slowly, if there are any; the oldest go first.
        """
        slow = asyncio.get_running_loop().time() - self._prompt_seconds
        for share in tuple(self.shares):
            if size <= 0 or share.begun > slow:
                return
            if share.size:
                size -= share.size
                share.cut_off()
