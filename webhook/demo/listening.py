"""
Servers that are switched off in the middle of something, and lose no connection's socket by it.
"""

import asyncio
import ssl

from aiohttp import web


__all__ = ["Listening"]

_SHUTDOWN_SECONDS = 0.1


class Listening:
    """
    aiohttp's low-level *server* on one port, from `open` to `close`.
    """

    def __init__(self, server: web.Server) -> None:
        self._web = server
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._listener: asyncio.Server | None = None

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """
        Listen on *port* of *host*, or on a free one for 0, and return it.
        """
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(
            self._web, host, port, ssl=tls, reuse_address=True
        )
        number: int = self._listener.sockets[0].getsockname()[1]
        return number

    async def close(self, *, at_once: bool = False) -> None:
        """
        Give the port back, and end all connections; *at_once* as a program that was killed.

        What has come in gets its turn first.  asyncio attaches a new connection to the server a
        moment after it has accepted it, and where the server is closed by then, nobody closes that
        socket (`_SelectorTransport.__init__`, seen with Python 3.11).
        """
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            for each in self._listener.sockets:
                loop.remove_reader(each.fileno())
            await asyncio.sleep(0)
            self._listener.close()
        for connection in self._web.connections if at_once else ():
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()
