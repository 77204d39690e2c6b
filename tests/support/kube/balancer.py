"""
A TCP balancer that does what a Kubernetes Service does.

A backend is chosen when a connection is made, in turn, among those that say they are ready; the
connection stays with it.  A backend that is not ready any more gets no new connections, and keeps
those it has.  Nothing is retried: a backend that refuses costs the client its connection.
"""

import asyncio
import contextlib

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import aiohttp


__all__ = ["Backend", "Balancer"]


@dataclass(frozen=True, slots=True)
class Backend:
    """
    Where a backend takes connections on loopback, and the URL that tells whether it is ready.
    """

    port: int
    ready_url: str


class Balancer:
    """
    The balancer; an asynchronous context manager that listens on `port`.

    `period` is how often, in seconds, backends are asked.  `counts` says how many connections each
    backend got, `failed` how many found no backend or were refused.  `believed`, where it is not
    empty, are the backends among which new connections are shared out, ready or not: a cluster that
    has noticed nothing yet.
    """

    def __init__(self, backends: Sequence[Backend], *, period: float = 0.1) -> None:
        self.backends = list(backends)
        self.ready: set[Backend] = set()
        self.believed: list[Backend] = []
        self.counts: Counter[Backend] = Counter()
        self.failed = 0
        self.port = 0
        self._period = period
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._prober: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._prober = asyncio.create_task(self._probe())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = [self._prober, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def all_ready(self) -> None:
        """
        Wait until every backend is ready.
        """
        while not self.ready.issuperset(self.backends):
            await asyncio.sleep(self._period)

    async def _probe(self) -> None:
        timeout = aiohttp.ClientTimeout(total=1)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.gather(*(self._ask(session, each) for each in self.backends))
                await asyncio.sleep(self._period)

    async def _ask(self, session: aiohttp.ClientSession, backend: Backend) -> None:
        try:
            async with session.get(backend.ready_url) as response:
                ready = response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            ready = False
        (self.ready.add if ready else self.ready.discard)(backend)

    def _choose(self) -> Backend | None:
        ready = self.believed or [each for each in self.backends if each in self.ready]
        if not ready:
            return None
        self._turn += 1
        return ready[self._turn % len(ready)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.current_task())
        try:
            # asyncio complains of a callback that was cancelled.
            with contextlib.suppress(asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            writer.transport.abort()
            self._connections.discard(asyncio.current_task())

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend = self._choose()
        if backend is None:
            self.failed += 1
            return
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", backend.port)
        except OSError:
            self.failed += 1
            return
        self.counts[backend] += 1
        try:
            await asyncio.gather(_copy(reader, back_writer), _copy(back_reader, writer))
        finally:
            back_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()
