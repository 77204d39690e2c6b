"""
Sockets to listen on, and room for the connections that they bring.
"""

import errno
import resource
import socket

from typing import Final

from webhook.errors import HarborCacheError


__all__ = ["EVERYWHERE", "bind", "raise_file_limit"]

EVERYWHERE: Final = "::"
"""
Every address of the machine, of both families.
"""

_BACKLOG: Final = 1024
_MOST_FILES: Final = 65536
_LAST_PORT: Final = 65535


def bind(host: str, port: int) -> tuple[socket.socket, ...]:
    """
    Return sockets that listen on *port* (0: on a free one) of all that *host* means.

    `EVERYWHERE` is one socket for both families; where there is no IPv6, for IPv4 alone.

    Raises:
        HarborCacheError: with the reason, if that can't be.
    """
    where = f"{host}, port {port}"
    if not 0 <= port <= _LAST_PORT:
        raise HarborCacheError(f"can't listen on {where}: ports go from 0 to {_LAST_PORT}")
    opened: list[socket.socket] = []
    try:
        if host == EVERYWHERE:
            opened.append(_everywhere(port))
        else:
            found = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                # A name of several addresses gets the same free port on each.
                taken = opened[0].getsockname()[1] if opened else port
                opened.append(_listen(family, (address[0], taken, *address[2:])))
    except OSError as error:
        for each in opened:
            each.close()
        raise HarborCacheError(f"can't listen on {where}: {error.strerror}") from error
    return tuple(opened)


def _everywhere(port: int) -> socket.socket:
    try:
        return _listen(socket.AF_INET6, (EVERYWHERE, port), both_families=True)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
    return _listen(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - it is what was asked for.


def _listen(
    family: int, address: tuple[object, ...], *, both_families: bool = False
) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Said either way: what holds otherwise is the machine's affair.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both_families))
        opened.bind(address)
        opened.listen(_BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def raise_file_limit() -> int:
    """
    Let this process open as many files as it may; return how many that are.

    Container runtimes start processes with a soft limit of 1,024, meant for programs that use
    `select`, and a hard limit far above that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return _MOST_FILES if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
