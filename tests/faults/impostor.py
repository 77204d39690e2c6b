"""
What may answer in Harbor's place: `python -m tests.faults.impostor KIND`; prints its port.
"""

import argparse
import asyncio
import contextlib
import sys

from collections.abc import Iterator


__all__ = ["KINDS"]

_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_OBJECTS = b'{"a":1},' * 8192


def _objects() -> Iterator[bytes]:
    yield _JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    yield b"1\r\n[\r\n"
    while True:
        yield b"%x\r\n%s\r\n" % (len(_OBJECTS), _OBJECTS)


def _interim() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 2000


def _drip() -> Iterator[bytes]:
    yield _JSON + b"Content-Length: 1000000\r\n\r\n"
    while True:
        yield b" "


def _headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-A: " + b"a" * 8000 + b"\r\n"


KINDS = {"objects": _objects, "interim": _interim, "drip": _drip, "headers": _headers}


async def _run(kind: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in KINDS[kind]():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.1 if kind == "drip" else 0)
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults.impostor", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    asyncio.run(_run(parser.parse_args().kind))
