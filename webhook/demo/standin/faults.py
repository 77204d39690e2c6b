"""
The ways in which Harbor, or the network in front of it, fails.
"""

import asyncio
import socket

from enum import StrEnum
from typing import Final

from aiohttp import web


__all__ = ["CONNECTION_FAULTS", "BlackHole", "Fault", "answer_with_fault", "nginx_page"]


class Fault(StrEnum):
    """
    What goes wrong; one at a time, for all of Harbor or for one project.
    """

    NONE = "none"
    REFUSED = "refused"
    """Nothing listens on the port."""
    BLACK_HOLE = "black-hole"
    """The port drops packets: connections are never made."""
    HANG = "hang"
    """Connections are accepted, requests read, and nothing is ever answered."""
    SLOW = "slow"
    """Every answer comes after `HarborStandIn.slow_delay` seconds."""
    BAD_GATEWAY = "bad-gateway"
    """502 with nginx's page: what its front says while Harbor's core is down."""
    SERVER_ERROR = "server-error"
    """500 with Harbor's own error body."""
    UNAUTHORIZED = "unauthorized"
    """401 to everything."""
    NOT_FOUND = "not-found"
    """404 to everything."""
    HTML = "html"
    """200 with a page: a captive portal, or a proxy's login."""
    REDIRECT = "redirect"
    """302 to another path, for ever."""
    ENDLESS = "endless"
    """200 with a body that never ends."""


CONNECTION_FAULTS: Final = frozenset({Fault.REFUSED, Fault.BLACK_HOLE})
"""
Faults of the port itself; all others are answers.
"""

_PAGE: Final = (
    "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
)


def nginx_page(status: int, reason: str) -> web.Response:
    """
    Return the page of the nginx in front of Harbor, where Harbor itself gave no answer.
    """
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {reason}</h1></center>\r\n<hr><center>nginx</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return web.Response(status=status, body=page.encode(), headers={"Content-Type": "text/html"})


def _errors(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)


async def answer_with_fault(
    fault: Fault, request: web.BaseRequest, slow_delay: float
) -> web.StreamResponse | None:
    """
    Answer *request* as *fault* says; return ``None`` where the usual answer is due.
    """
    match fault:
        case Fault.HANG:
            await asyncio.Event().wait()
        case Fault.SLOW:
            await asyncio.sleep(slow_delay)
        case Fault.BAD_GATEWAY:
            return nginx_page(502, "Bad Gateway")
        case Fault.SERVER_ERROR:
            return _errors(500, "UNKNOWN", "internal server error")
        case Fault.UNAUTHORIZED:
            return _errors(401, "UNAUTHORIZED", "unauthorized")
        case Fault.NOT_FOUND:
            return _errors(404, "NOT_FOUND", "not found")
        case Fault.HTML:
            return web.Response(text=_PAGE, content_type="text/html")
        case Fault.REDIRECT:
            return web.Response(status=302, headers={"Location": f"{request.path}/"})
        case Fault.ENDLESS:
            return await _endless(request)
        case _:
            pass
    return None


async def _endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"status":"healthy","components":[')
    while True:  # Until the client has had enough.
        await response.write(b'{"name":"core","status":"healthy"},' * 256)
        await asyncio.sleep(0.001)


class BlackHole:
    """
    A listening port on which connections are never made.

    The queue of connections that nobody accepts is filled up; Linux drops the packets of all
    others then, as a firewall would.
    """

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(0)
        self._fillers = []
        for _ in range(4):  # Linux queues one more than asked for; more than that does no harm.
            filler = socket.socket()
            filler.setblocking(False)  # noqa: FBT003
            filler.connect_ex((host, port))
            self._fillers.append(filler)

    def close(self) -> None:
        """
        Give the port back.
        """
        for filler in self._fillers:
            filler.close()
        self._listener.close()
