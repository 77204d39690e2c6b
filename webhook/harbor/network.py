"""
How a client of Harbor meets the network: whatever is at the other end, it can take only so much.

A deadline alone does not do: within two seconds an address that floods us, or a name server that
never answers, could take memory, threads and the time that reviews need.
"""

import asyncio
import socket
import threading

from contextlib import suppress
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType


__all__ = ["BoundedSocket", "PatientResolver", "TooMuchError"]

_PIECE: Final = 4096
"""
What is read at once: a piece full of tiny messages takes about a millisecond to go through.
"""

_MAX_LOOKUPS: Final = 4


class TooMuchError(OSError):
    """
    More came over one connection than Harbor ever has to say.
    """


class BoundedSocket(socket.socket):
    """
    A socket that can receive so many bytes in all, and only a little at once.

    That holds whatever the bytes are: headers without end, bodies, interim answers (1xx) that HTTP
    allows in any number, or handshakes.
    """

    def __init__(self, address: AddrInfoType, most: int) -> None:
        """
        Prepare to connect to *address*; it is over after *most* bytes.
        """
        family, kind, protocol, _, _ = address
        super().__init__(family, kind, protocol)
        self.settimeout(0)
        self._left = most

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """
        Receive a piece.

        Raises:
            TooMuchError: when it is one too many.
        """
        data = super().recv(min(size, _PIECE), flags)
        self._take(len(data))
        return data

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0, /) -> int:
        """
        Receive a piece into *buffer*.

        Raises:
            TooMuchError: when it is one too many.
        """
        room = memoryview(buffer)[: min(size or _PIECE, _PIECE)]
        received = super().recv_into(room, 0, flags)
        self._take(received)
        return received

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooMuchError("more was sent than Harbor has to say")


class PatientResolver(AbstractResolver):
    """
    Looks names up, each in one thread at a time.

    `getaddrinfo` can't be cancelled.  While a name server is silent, every probe would leave a
    thread behind, in the pool that reads our files, too; so who asks for a name that is being
    looked up waits for that same answer.  The threads don't hold up the end of the process.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, int, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """
        Return the addresses of *host*.

        Raises:
            OSError: where there are none, or too many lookups are still running.
        """
        key = (host, port, family)
        running = self._running.get(key)
        if running is None:
            if len(self._running) >= _MAX_LOOKUPS:
                raise OSError(f"{host} is not looked up: others have not been answered yet")
            running = self._start(*key)
        return list(await asyncio.shield(running))

    async def close(self) -> None:
        """
        Do nothing: what runs, ends by itself.
        """

    def _start(self, host: str, port: int, family: int) -> "asyncio.Future[list[ResolveResult]]":
        loop = asyncio.get_running_loop()
        running: asyncio.Future[list[ResolveResult]] = loop.create_future()
        self._running[host, port, family] = running

        def done(found: list[ResolveResult] | OSError) -> None:
            del self._running[host, port, family]
            if isinstance(found, OSError):
                running.set_exception(found)
                running.exception()  # Nobody may be waiting for it any more.
            else:
                running.set_result(found)

        def look_up() -> None:
            found: list[ResolveResult] | OSError
            try:
                found = _look_up(host, port, family)
            except (OSError, UnicodeError) as error:
                found = error if isinstance(error, OSError) else OSError(f"{host} is no name")
            with suppress(RuntimeError):  # The loop is closed: nobody wants to know any more.
                loop.call_soon_threadsafe(done, found)

        threading.Thread(target=look_up, name="look-up", daemon=True).start()
        return running


def _look_up(host: str, port: int, family: int) -> list[ResolveResult]:
    found = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host,
            # With the scope of a link-local address, which the address alone does not say.
            host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, address in found
    ]
