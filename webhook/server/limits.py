"""
How much of the bodies of reviews is held in memory at once, and for how long they are waited for.
"""

import asyncio

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web


__all__ = ["MAX_BODY_BYTES", "Bodies"]

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
_SMALL_BODIES_BYTES: Final = 16 * 1024 * 1024
_MAX_WAITING: Final = 64


class Bodies:
    """
    Reads the bodies of reviews.
    """

    def __init__(self) -> None:
        self.large = _Budget(_LARGE_BODIES_BYTES)
        self.small = _Budget(_SMALL_BODIES_BYTES)

    @asynccontextmanager
    async def read(self, request: web.Request, size: int) -> AsyncIterator[bytes]:
        """
        Read a body of at most *size* bytes, which count for as long as the context lasts.

        Large ones never hold up small ones.  A large one gets all its room before it is read, or
        many half-read ones would wait for each other.  A small one takes room as it arrives: a
        promise alone holds none.

        Raises:
            TimeoutError: if the body did not arrive in time.
        """
        if size > _LARGE_BODY_BYTES:
            async with AsyncExitStack() as held:
                async with asyncio.timeout(READ_SECONDS):
                    await held.enter_async_context(self.large.hold(size))
                    body = await request.read()
                yield body
            return
        arrived = bytearray()
        try:
            async with asyncio.timeout(SMALL_READ_SECONDS):
                while chunk := await request.content.readany():
                    await self.small.take(len(chunk))
                    arrived += chunk
            yield bytes(arrived)
        finally:
            self.small.give_back(len(arrived))


class _Budget:
    """
    The bytes that bodies in flight may take together; who comes first is served first.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """
        Take *size* bytes for as long as the context lasts.
        """
        await self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    async def take(self, size: int) -> None:
        """
        Take *size* bytes, when they are free.

        Raises:
            TimeoutError: if so many wait already that it would take too long.
        """
        if len(self._waiting) >= _MAX_WAITING:
            raise TimeoutError
        if self._waiting or self._free < size:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give_back(size)
                raise
        else:
            self._free -= size

    def give_back(self, size: int) -> None:
        """
        Return *size* bytes that were taken.
        """
        self._free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.done():  # It gave up waiting.
                self._waiting.popleft()
                continue
            if wanted > self._free:
                return
            self._waiting.popleft()
            self._free -= wanted
            turn.set_result(None)
