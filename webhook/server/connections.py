"""
The open connections of the business port, bounded in number and in size.

Whoever can reach the port can open connections and leave them idle.  The API server keeps a few
dozen; so there is a limit, and where it is reached, who has never asked anything useful goes first.
"""

import asyncio

from asyncio import constants, sslproto
from collections.abc import Callable
from typing import Final

from aiohttp import web


__all__ = ["MAX_CONNECTIONS", "Connections", "keep_tls_buffers_small"]

MAX_CONNECTIONS: Final = 1024
"""
How many may be open at once.  Each takes about 100 KiB; an API server keeps at most 25 idle ones.
"""

_TLS_BUFFER_BYTES: Final = 32 * 1024


class Connections:
    """
    Makes room for new connections when there are too many.
    """

    def __init__(self, limit: int = MAX_CONNECTIONS) -> None:
        self._limit = limit
        self._useful: set[web.RequestHandler] = set()
        self._closing: set[web.RequestHandler] = set()

    def found_useful(self, connection: web.RequestHandler) -> None:
        """
        Note that a review came over *connection*.
        """
        self._useful.add(connection)

    def factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """
        Return what makes the protocol of a new connection to *server*.
        """
        return lambda: server() if self._make_room(server) else _Refused()

    def _make_room(self, server: web.Server) -> bool:
        """
        Close the oldest connection without a review where the limit is reached.

        Return whether there is room then.
        """
        connections = server.connections
        self._useful.intersection_update(connections)
        self._closing.intersection_update(connections)
        if len(connections) - len(self._closing) < self._limit:
            return True
        spared = self._useful | self._closing
        oldest = next((each for each in connections if each not in spared), None)
        if oldest is None:
            return False
        self._closing.add(oldest)
        if oldest.transport is not None:
            oldest.transport.abort()
        return True


class _Refused(asyncio.Protocol):
    """
    A connection that is one too many.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Close it at once.
        """
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def keep_tls_buffers_small() -> None:
    """
    Let asyncio take 32 KiB per TLS connection and not 256 KiB, before a byte has arrived.

    There is no public way to say so; a thousand idle connections are worth it.
    """
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    vars(constants)["FLOW_CONTROL_HIGH_WATER_SSL_READ"] = _TLS_BUFFER_BYTES // 1024
