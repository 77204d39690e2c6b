"""
A port that HTTP is served on, with a bound on all that clients can make it hold.

Whoever can reach a port can open connections and say nothing, or half of something.  A webhook
that fails open must not be exhausted by that: it would be switched off for a whole cluster.  So
connections count from the moment they are accepted, those that come to nothing are given up, and
where the limit is reached, the least recently useful one makes room for the next.

aiohttp speaks HTTP; this is what stands before it.
"""

import asyncio
import errno
import itertools
import socket
import ssl

from asyncio import constants, sslproto
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

import structlog

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


__all__ = ["BoundedPort", "Limits"]

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_AT_ONCE: Final = 16
"""
How many connections are accepted in one turn of the loop: others want their turn, too.
"""

_SWEEP_SECONDS: Final = 1.0
_NO_ROOM_SECONDS: Final = 0.1
_TLS_BUFFER_BYTES: Final = 32 * 1024
# Twice as much is read ahead of a connection whose body has to wait for its turn.
_READ_BYTES: Final = 16 * 1024
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What clients of a port may take.

    Attributes:
        connections: how many there may be at once, from the moment that they are accepted.
        handshakes: how many of them may be in the middle of a TLS handshake.
        handshake_seconds: how long one may take.
        first_request_seconds: how long a connection may go without having been of use.
        idle_seconds: how long one that has been of use may be idle.
        header_lines: how many lines a request's head may have.
    """

    connections: int
    handshakes: int = 512
    handshake_seconds: float = 3.0
    first_request_seconds: float = 15.0
    idle_seconds: float = 180.0
    header_lines: int = 64


class BoundedPort(web.Server):
    """
    Serves HTTP on sockets, within limits.

    It is aiohttp's low-level server, so that it hears of connections that come and go; between
    requests and *handler* is nothing but aiohttp's parser.
    """

    def __init__(
        self, handler: Handler, limits: Limits, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """
        Prepare to let *handler* answer requests, over TLS where *tls* is given.
        """
        super().__init__(
            self._handle,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=2.0,
            max_headers=limits.header_lines,
            read_bufsize=_READ_BYTES,
        )
        self._answer = handler
        self._limits = limits
        self._tls = tls
        self._sockets: Sequence[socket.socket] = ()
        self._sweeping: asyncio.TimerHandle | None = None
        # Each in the order in which they would have to go.
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}
        self._unproven: dict[RequestHandler, float] = {}
        self._useful: dict[RequestHandler, float] = {}

    def open(self, sockets: Sequence[socket.socket]) -> None:
        """
        Accept connections from *sockets*, which listen already and are ours from now on.
        """
        if self._tls is not None:
            _keep_tls_buffers_small()
        self._sockets = sockets
        for each in sockets:
            self._loop.add_reader(each, self._accept, each)
        self._sweep()

    @property
    def port(self) -> int:
        """
        The port's number.
        """
        number: int = self._sockets[0].getsockname()[1]
        return number

    def stop_accepting(self) -> None:
        """
        Take no new connections; those that are there go on.
        """
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()
        self._sockets = ()

    async def close(self, seconds: float) -> None:
        """
        Take no new connections, and end those that are there; requests in flight have *seconds*.
        """
        self.stop_accepting()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for each in self._handshakes.values():
            _cut(each)
        if self._handshakes:
            await asyncio.wait(self._handshakes)
        self.pre_shutdown()
        await self.shutdown(seconds)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer a request, and note that its connection is of use if that went well.
        """
        response = await self._answer(request)
        connection = request.protocol
        # One that is in neither has been given up meanwhile.
        if response.status == HTTPStatus.OK and (
            self._unproven.pop(connection, None) is not None
            or self._useful.pop(connection, None) is not None
        ):
            self._useful[connection] = self._loop.time()
        return response

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """
        Hear of a connection that can be talked on; called by aiohttp.
        """
        super().connection_made(handler, transport)
        self._unproven[handler] = self._loop.time() + self._limits.first_request_seconds

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """
        Hear of a connection that is over; called by aiohttp.
        """
        super().connection_lost(handler, exc)
        self._forget(handler)

    def _forget(self, handler: RequestHandler) -> None:
        self._unproven.pop(handler, None)
        self._useful.pop(handler, None)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._pause(listening, error)
                return
            self._make_room()
            accepted.settimeout(0)
            welcome = self._loop.create_task(self._welcome(accepted))
            self._handshakes[welcome] = accepted
            welcome.add_done_callback(self._welcomed)

    async def _welcome(self, accepted: socket.socket) -> None:
        """
        Bring a connection to where aiohttp can talk on it.
        """
        seconds = None if self._tls is None else self._limits.handshake_seconds
        try:
            await self._loop.connect_accepted_socket(
                self,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError as error:
            # What clients do wrong in a handshake is no news.  Its traceback leads to asyncio's
            # frames and they lead to it: in this circle each would keep 60 KiB from being freed.
            error.__traceback__ = None

    def _welcomed(self, welcome: "asyncio.Task[None]") -> None:
        self._handshakes.pop(welcome, None)
        if not welcome.cancelled() and (error := welcome.exception()) is not None:
            _log.error("connection not served", error=type(error).__name__, exc_info=error)

    def _make_room(self) -> None:
        """
        Give up a connection where there would be one too many.
        """
        number = len(self._handshakes) + len(self._unproven) + len(self._useful)
        if len(self._handshakes) >= self._limits.handshakes:
            self._give_up_handshake()
        elif number >= self._limits.connections:
            self._give_up_one()

    def _give_up_one(self) -> None:
        """
        Give up the oldest that has not been of use yet, or the least recently useful one.

        A request that has just arrived is on one that has not been of use yet, too.  So these may
        have half of the connections: they don't push out those that are of use, and who asks once
        and stays leaves the others the time to ask.
        """
        newcomers = 2 * len(self._unproven) > self._limits.connections
        groups = (self._unproven, self._useful) if newcomers else (self._useful, self._unproven)
        if first := next(itertools.chain(*groups), None):
            self._give_up(first)
        elif self._handshakes:
            self._give_up_handshake()

    def _give_up_handshake(self) -> None:
        # Its task ends by this, in whatever step it is.
        _cut(self._handshakes.pop(next(iter(self._handshakes))))

    def _give_up(self, connection: RequestHandler) -> None:
        self._forget(connection)
        if connection.transport is not None:
            connection.transport.abort()

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """
        Wait until what was given up has made room for another file.
        """
        _log.warning("no room for a connection", problem=error.strerror)
        self._give_up_one()
        self._loop.remove_reader(listening)
        self._loop.call_later(_NO_ROOM_SECONDS, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _sweep(self) -> None:
        """
        Give up, every second, the connections that have not been of use for too long.
        """
        now = self._loop.time()
        for connection, until in tuple(self._unproven.items()):
            if until > now:
                break
            self._give_up(connection)
        self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _keep_tls_buffers_small() -> None:
    """
    Let asyncio take 32 KiB per TLS connection and not 256 KiB, before a byte has arrived.

    There is no public way to say so; a thousand idle connections are worth it.
    """
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    vars(constants)["FLOW_CONTROL_HIGH_WATER_SSL_READ"] = _TLS_BUFFER_BYTES // 1024
