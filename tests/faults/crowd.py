"""
Clients of a replica, in a process of their own: `python -m tests.faults.crowd KIND PORT COUNT`.

They must not slow down the Pods whose creation is measured.  One line of JSON tells that they have
begun; they go on until the standard input ends, and a last line tells what answers they got.
"""

import argparse
import asyncio
import contextlib
import functools
import itertools
import json
import logging
import resource
import sys

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from benchmarks.pods import PODS, review_of
from tests.faults.wire import connect, head_of, large_review, post


__all__ = ["crowd"]

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CHUNK = 64 * 1024
_AT_ONCE = 200
_CONNECT_SECONDS = 10.0
_STAY_SECONDS = 30.0
_NO_CONNECTION = (OSError, TimeoutError, asyncio.IncompleteReadError)


@asynccontextmanager
async def crowd(kind: str, port: int, count: int) -> AsyncIterator[Counter[str]]:
    """
    Let *count* clients be there for as long as the context lasts; it gives their answers at its end.
    """
    answers: Counter[str] = Counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.crowd", kind, str(port), str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if not await process.stdout.readline():
            raise RuntimeError("the clients did not begin")
        yield answers
        process.stdin.close()
        answers.update(json.loads(await process.stdout.readline() or "{}"))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _idle(port: int, count: int, answers: Counter[str], begun: Callable[[], None]) -> None:
    """
    Ask once, and say nothing more: who has not asked yet has seconds to do so, and has to go then.
    """
    opened = [await _ask_once(port) for _ in range(count)]
    begun()
    while True:
        answers["open"] = _still_open(opened)
        await asyncio.sleep(1)


async def _slow(port: int, count: int, answers: Counter[str], begun: Callable[[], None]) -> None:
    """
    Send a header that never ends, a byte a second.
    """
    opened = [await connect(port) for _ in range(count)]
    for _, writer in opened:
        writer.write(b"POST /mutate HTTP/1.1\r\nHost: x\r\nX: ")
    begun()
    while True:
        for _, writer in opened:
            writer.write(b"x")
        await asyncio.sleep(1)
        answers["open"] = _still_open(opened)


def _still_open(opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> int:
    return sum(not (reader.at_eof() or reader.exception()) for reader, _ in opened)


async def _half(port: int, count: int, answers: Counter[str], begun: Callable[[], None]) -> None:
    """
    Send half of a large review as fast as it is taken, then nothing more; come again when closed.
    """
    body = large_review()
    connections = 0

    async def client() -> None:
        nonlocal connections
        while True:
            writer = None
            try:
                reader, writer = await connect(port)
                connections += 1
                if connections == count:
                    begun()
                writer.write(head_of(body))
                sending = asyncio.create_task(_send(writer, body[: len(body) // 2]))
                line = await reader.readline()
                sending.cancel()
                answers[line.split()[1].decode() if line else "closed"] += 1
            except OSError:
                answers["closed"] += 1
            finally:
                if writer is not None:
                    writer.transport.abort()
            await asyncio.sleep(1)

    await asyncio.gather(*(client() for _ in range(count)))


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    with contextlib.suppress(OSError):
        for start in range(0, len(body), _CHUNK):
            writer.write(body[start : start + _CHUNK])
            await writer.drain()


async def _large(port: int, count: int, answers: Counter[str], begun: Callable[[], None]) -> None:
    """
    Send so many large reviews at once, again and again.
    """
    body = large_review()
    begun()
    while True:
        sent = (post(port, body) for _ in range(count))
        for each in await asyncio.gather(*sent, return_exceptions=True):
            answers["no answer" if isinstance(each, BaseException) else str(each)] += 1


async def _stay(
    port: int,
    count: int,
    answers: Counter[str],
    begun: Callable[[], None],
    what: Callable[[int], Awaitable[Connection]],
) -> None:
    """
    Be *count* clients who do *what* and stay; who is thrown out, comes again a second later.
    """
    known = 0
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def client() -> None:
        nonlocal known
        first = True
        while True:
            writer = None
            try:
                async with at_once, asyncio.timeout(_CONNECT_SECONDS):
                    reader, writer = await what(port)
                answers["connections"] += 1
            except _NO_CONNECTION:
                answers["no connection"] += 1
            if first:
                first = False
                known += 1
                if known == count:
                    begun()
            if writer is not None:
                with contextlib.suppress(OSError):
                    await reader.read()
                writer.transport.abort()
            await asyncio.sleep(1)

    await asyncio.gather(*(client() for _ in range(count)))


async def _say_nothing(port: int) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port)


async def _say_half_a_hello(port: int) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # A TLS record that announces a hello of 512 bytes, and its beginning.
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
    return reader, writer


async def _ask_once(port: int) -> Connection:
    reader, writer = await connect(port)
    body = review_of(PODS["small"])
    writer.write(head_of(body) + body)
    try:
        await reader.readuntil(b"\r\n\r\n")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


async def _send_slowly(port: int) -> Connection:
    """
    Begin a body of 250 KiB, and go on at 20 KiB a second.
    """
    reader, writer = await connect(port)
    body = b"{" + b" " * (250 * 1024)
    writer.write(head_of(body) + body[:20_000])

    async def go_on() -> None:
        with contextlib.suppress(OSError):
            for start in range(20_000, len(body), 10_000):
                await asyncio.sleep(0.5)
                writer.write(body[start : start + 10_000])
                await writer.drain()

    writer.going_on = asyncio.create_task(go_on())  # type: ignore[attr-defined]
    return reader, writer


async def _ask_by_halves(port: int) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1000)
    return reader, writer


async def _mix(port: int, count: int, answers: Counter[str], begun: Callable[[], None]) -> None:
    """
    Come *count* times a second, each time with another thing to do than ask properly, and stay.
    """
    ways = itertools.cycle((_say_nothing, _say_half_a_hello, connect, _ask_once, _send_slowly))

    async def client() -> None:
        with contextlib.suppress(*_NO_CONNECTION):
            async with asyncio.timeout(_STAY_SECONDS):
                reader, writer = await next(ways)(port)
                try:
                    await reader.read()
                finally:
                    writer.transport.abort()
        answers["clients"] += 1

    begun()
    async with asyncio.TaskGroup() as clients:
        while True:
            clients.create_task(client())
            await asyncio.sleep(1 / count)


def _staying(what: Callable[[int], Awaitable[Connection]]) -> Callable[..., Awaitable[None]]:
    return functools.partial(_stay, what=what)


_KINDS: dict[str, Callable[..., Awaitable[None]]] = {
    "idle": _idle,
    "slow": _slow,
    "half": _half,
    "large": _large,
    "silent": _staying(_say_nothing),
    "hello": _staying(_say_half_a_hello),
    "shaken": _staying(connect),
    "once": _staying(_ask_once),
    "drip": _staying(_send_slowly),
    "ops": _staying(_ask_by_halves),
    "mix": _mix,
}


async def _run(kind: str, port: int, count: int) -> None:
    answers: Counter[str] = Counter()
    clients = asyncio.ensure_future(
        _KINDS[kind](port, count, answers, lambda: print("{}", flush=True))
    )
    # No thread reads it: it would keep the process from ending when the clients fail.
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin
    )
    end = asyncio.ensure_future(stdin.read())
    await asyncio.wait([clients, end], return_when=asyncio.FIRST_COMPLETED)
    if clients.done():
        clients.result()
    await end
    print(json.dumps(answers), flush=True)
    clients.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crowd", description=__doc__)
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # Of writes to what was closed.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_run(options.kind, options.port, options.count))
