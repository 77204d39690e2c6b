"""
What clients can make a port hold, and who goes first.
"""

import asyncio
import contextlib
import errno
import gc
import socket
import ssl

from asyncio import sslproto

import pytest
import trustme

from aiohttp import web

from webhook.process.bounded_port import BoundedPort, Limits
from webhook.process.listening import bind


HEAD = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(request):
    """
    Answer what is useful with 200.
    """
    await asyncio.sleep(0)
    return web.Response(text="ok", status=200 if request.path == "/useful" else 400)


class Client:
    """
    One connection.
    """

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, page=b"useful"):
        self.writer.write(HEAD % page)
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(2)
        return int(head.split()[1])

    def abort(self):
        self.writer.transport.abort()

    async def is_closed(self, seconds=1.0):
        try:
            return await asyncio.wait_for(self.reader.read(1), seconds) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


@pytest.fixture
async def serve():
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.05)  # Until what is aborted is closed.

        async def serve(tls=None, **limits):
            port = BoundedPort(answer, Limits(**limits), tls=tls)
            port.open(bind("127.0.0.1", 0))
            stack.push_async_callback(port.close, 0.5)

            async def connect(context=None):
                client = Client(
                    *await asyncio.open_connection("127.0.0.1", port.port, ssl=context)
                )
                stack.callback(client.abort)
                await asyncio.sleep(0.05)
                return client

            return port, connect

        yield serve


@pytest.fixture(scope="module")
def tls():
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return server, client


async def test_the_oldest_that_was_never_of_use_goes_first(serve):
    """
    Where the limit is reached, silent connections make room, and so do those with bad requests.
    """
    _, connect = await serve(connections=3)
    good = await connect()
    await good.ask()
    silent = await connect()
    bad = await connect()
    await bad.ask(b"useless")
    late = [await connect(), await connect()]

    assert [True, True] == [await silent.is_closed(), await bad.is_closed()]
    assert [200, 200, 200] == [await each.ask() for each in (good, *late)]


async def test_the_least_recently_useful_one_goes_when_all_were_of_use(serve):
    """
    Nobody is shut out by those who asked once and stay: the one whose last answer is oldest goes.
    """
    _, connect = await serve(connections=3)
    clients = [await connect() for _ in range(3)]
    for each in clients:
        await each.ask()
    await clients[0].ask()
    late = await connect()

    assert 200 == await late.ask()
    assert [False, True, False] == [await each.is_closed() for each in clients]


async def test_who_asked_once_and_stays_leaves_others_the_time_to_ask(serve):
    """
    A connection whose first request is on its way does not go while most are idle after theirs.
    """
    _, connect = await serve(connections=4)
    stayed = [await connect() for _ in range(3)]
    for each in stayed:
        await each.ask()
    asking = await connect()
    late = await connect()

    assert [200, 200] == [await each.ask() for each in (asking, late)]
    assert [True, False, False] == [await each.is_closed() for each in stayed]


async def test_connections_count_from_the_moment_they_are_accepted(serve, tls):
    """
    Over TLS, those that say nothing or half a hello make room before they have shaken hands.
    """
    server, client = tls
    _, connect = await serve(server, connections=8, handshakes=4)
    silent = [await connect() for _ in range(6)]
    silent[5].writer.write(b"\x16\x03\x01")
    good = await connect(client)

    assert 200 == await good.ask()
    assert [True, True, True] == [await each.is_closed() for each in silent[:3]]
    assert not await silent[5].is_closed()


async def test_a_handshake_that_does_not_end_is_given_up(serve, tls):
    """
    However much room there is.
    """
    server, _ = tls
    _, connect = await serve(server, connections=8, handshake_seconds=0.2)

    assert await (await connect()).is_closed(20)


async def test_a_first_request_has_a_deadline(serve):
    """
    A connection that has not been of use in time is given up; one that has, stays.
    """
    _, connect = await serve(connections=8, first_request_seconds=1.0)
    good = await connect()
    await good.ask()
    silent, half = await connect(), await connect()
    half.writer.write(b"GET /useful HTTP/1.1\r\nX: ")

    assert await silent.is_closed(20)
    assert await half.is_closed(20)
    assert 200 == await good.ask()


async def test_a_head_with_very_many_lines_is_refused(serve):
    """
    The head of one request can't hold a megabyte.
    """
    _, connect = await serve(connections=8)
    client = await connect()
    client.writer.write(b"GET /useful HTTP/1.1\r\n" + b"X: x\r\n" * 1000 + b"\r\n")

    assert b"400" in await client.reader.readline()


async def test_without_files_one_connection_goes_for_the_next(serve):
    """
    When the process may open no more files, the least useful connection is closed, and all goes on.
    """
    port, connect = await serve(connections=8)
    silent = await connect()
    listening = port._sockets[0]

    class Full:
        fails = True

        def accept(self):
            if self.fails:
                self.fails = False
                raise OSError(errno.EMFILE, "Too many open files")
            return listening.accept()

        def __getattr__(self, name):
            return getattr(listening, name)

    port._sockets = (full := Full(),)
    port._accept(full)
    good = await connect()

    assert await silent.is_closed()
    assert 200 == await good.ask()


async def test_closing_leaves_nothing_open(serve, tls):
    """
    At the end all connections are closed, those in the middle of a handshake too.
    """
    server, client = tls
    port, connect = await serve(server, connections=8)
    clients = [await connect(), await connect(client)]
    await clients[1].ask()
    number = port.port
    await port.close(0.5)

    assert [True, True] == [await each.is_closed() for each in clients]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number))


async def test_a_handshake_that_fails_leaves_nothing_to_be_collected(serve, tls):
    """
    What it took is free at once, and not when the garbage collector finds the time.
    """
    server, _ = tls
    _, connect = await serve(server, connections=8, handshakes=2)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await connect()
        left = [each for each in gc.get_objects() if isinstance(each, sslproto.SSLProtocol)]
    finally:
        gc.enable()

    assert len(left) <= 3
