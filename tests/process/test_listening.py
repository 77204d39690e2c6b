"""
Sockets for both families, and sentences where there can't be any.
"""

import errno
import resource
import socket

import pytest

from webhook.errors import HarborCacheError
from webhook.process.listening import EVERYWHERE, bind, raise_file_limit


@pytest.fixture
def opened():
    sockets = []
    yield sockets
    for each in sockets:
        each.close()


def test_everywhere_is_both_families(opened):
    """
    One socket takes IPv4 and IPv6, whatever the machine's setting is.
    """
    opened.extend(bind(EVERYWHERE, 0))
    port = opened[0].getsockname()[1]
    for address in ("127.0.0.1", "::1"):
        opened.append(socket.create_connection((address, port)))

    assert socket.AF_INET6 is opened[0].family


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_everywhere_without_ipv6_is_ipv4(opened, monkeypatch, code):
    """
    Where the kernel knows no IPv6, or has no address of it, IPv4 is served.
    """

    class Socket(socket.socket):
        def __init__(self, family=-1, *others, **words):
            if family == socket.AF_INET6:
                raise OSError(code, "no IPv6")
            super().__init__(family, *others, **words)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Socket)
        opened.extend(bind(EVERYWHERE, 0))
    opened.append(socket.create_connection(("127.0.0.1", opened[0].getsockname()[1])))

    assert socket.AF_INET is opened[0].family


def test_a_name_of_several_addresses_has_one_port(opened):
    """
    Every address of a name is listened on, on the same port.
    """
    opened.extend(bind("localhost", 0))

    assert 1 == len({each.getsockname()[1] for each in opened})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", EVERYWHERE])
def test_a_taken_port_is_a_sentence(opened, host):
    """
    It names address and port, and leaves no socket open.
    """
    opened.extend(bind(host, 0))
    port = opened[0].getsockname()[1]
    with pytest.raises(HarborCacheError) as caught:
        bind(host, port)

    assert f"can't listen on {host}, port {port}: Address already in use" == str(caught.value)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 65536, "ports go from 0 to 65535"),
        ("127.0.0.1", -1, "ports go from 0 to 65535"),
        ("192.0.2.1", 0, "Cannot assign requested address"),
        ("no.such.invalid", 0, ""),
    ],
)
def test_what_can_not_be_listened_on_is_a_sentence(host, port, words):
    """
    A port that does not exist, somebody else's address, a name that nobody knows.
    """
    with pytest.raises(HarborCacheError, match=f"can't listen on {host}, port {port}: .*{words}"):
        bind(host, port)


def test_the_file_limit_is_raised(monkeypatch):
    """
    The soft limit becomes the hard one, within reason, and is never lowered.
    """
    limits, made = [(1024, 4096)], []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: made.append(pair))
    infinite = resource.RLIM_INFINITY
    seen = []
    for pair in ((1024, 4096), (1024, 1 << 20), (1024, infinite), (1 << 20, infinite), (64, 64)):
        limits[0] = pair
        seen.append(raise_file_limit())

    assert [4096, 65536, 65536, 1 << 20, 64] == seen
    assert [(4096, 4096), (65536, 1 << 20), (65536, infinite)] == made
