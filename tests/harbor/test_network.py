"""
What is at the other end of a connection to Harbor may be hostile, or silent.
"""

import asyncio
import socket
import threading
import time

import pytest

from webhook.errors import HarborError
from webhook.harbor.client import HarborClient
from webhook.harbor.network import PatientResolver


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
OBJECTS = b'{"a":1},' * 8192


async def ask(server, *, tls=None, max_body=16 * 1024, timeout=5.0):
    """
    Return how a call ends, and how much was sent to us by then.
    """
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        try:
            for piece in server():
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(0)
        except OSError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        client = HarborClient(f"http://127.0.0.1:{port}", timeout=timeout, max_body=max_body)
        async with client:
            answer = await client.call("GET", "/")
    return answer, sent


def endless(head, piece):
    def server():
        yield head
        while True:
            yield piece

    return server


@pytest.mark.parametrize(
    "server",
    [
        endless(JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + OBJECTS + b"\r\n"),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
        endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 1000 + b"\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65536),
    ],
    ids=["objects", "1xx", "headers", "header"],
)
async def test_an_answer_without_end_is_cut_off(server):
    """
    Whatever there is too much of, the call ends long before its deadline, as no answer of Harbor's.
    """
    with pytest.raises(HarborError) as caught:
        async with asyncio.timeout(4):
            await ask(server, timeout=60.0)

    assert "not-harbor" == caught.value.cause


async def test_an_ordinary_answer_of_the_largest_size_is_read():
    """
    The bound is no smaller than it says.
    """
    body = b"[" + b"1," * 8191 + b"1]"
    answer, _ = await ask(
        lambda: [JSON + b"Content-Length: %d\r\n\r\n" % len(body), body], max_body=len(body)
    )

    assert body == answer.body


async def test_interim_answers_before_the_real_one_are_passed_over():
    """
    A few answers with 1xx are HTTP as it should be.
    """
    answer, _ = await ask(
        lambda: [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3, JSON + b"Content-Length: 2\r\n\r\n{}"]
    )

    assert {} == answer.json()


@pytest.fixture
def silence(monkeypatch):
    """
    Have a name server that says nothing until the event is set; give the names it is asked for.
    """
    asked, heard = [], threading.Event()
    ask = socket.getaddrinfo

    def getaddrinfo(host, port, **options):
        if host.endswith(".silent"):
            asked.append(host)
            heard.wait(20)
            host = "127.0.0.1"
        return ask(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked, heard
    heard.set()


async def test_a_silent_name_server_holds_one_thread(silence):
    """
    However often a name is asked for, it is looked up once at a time, and found when that ends.
    """
    asked, heard = silence
    resolver = PatientResolver()
    before = threading.active_count()
    for _ in range(20):
        client = HarborClient("http://harbor.silent:9", timeout=0.05, resolver=resolver)
        async with client:
            with pytest.raises(HarborError) as caught:
                await client.call("GET", "/")
    during = threading.active_count()
    waiting = asyncio.create_task(resolver.resolve("harbor.silent", 9, socket.AF_UNSPEC))
    await asyncio.sleep(0)
    heard.set()

    assert "timeout" == caught.value.cause
    assert ["harbor.silent"] == asked
    assert 1 == during - before
    assert ["127.0.0.1"] == [found["host"] for found in await waiting]


async def test_other_names_are_refused_when_many_are_silent(silence):
    """
    Configs that name one silent host after the other leave no pile of threads, either.
    """
    resolver = PatientResolver()
    tasks = [
        asyncio.create_task(resolver.resolve(f"{number}.silent", 1, socket.AF_INET))
        for number in range(10)
    ]
    done, pending = await asyncio.wait(tasks, timeout=0.2)
    for task in pending:
        task.cancel()

    assert 6 == len(done)
    assert all(isinstance(task.exception(), OSError) for task in done)


async def test_names_and_addresses_are_found():
    """
    What the system finds is returned, and what it does not is an error.
    """
    resolver = PatientResolver()
    found = await resolver.resolve("localhost", 80, socket.AF_INET)
    started = time.monotonic()
    with pytest.raises(OSError, match=r"name|not known|resolution"):
        await resolver.resolve("x" * 300, 80, socket.AF_INET)

    assert ("127.0.0.1", 80) == (found[0]["host"], found[0]["port"])
    assert time.monotonic() - started < 20
