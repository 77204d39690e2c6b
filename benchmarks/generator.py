"""
A load generator that says when each answer was due: the open loop, which wrk does not have.

It also stands in for wrk where that is absent.  `python -m benchmarks.generator --help`
"""

import argparse
import asyncio
import json
import ssl
import time

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.reviews import Workload


__all__ = ["percentile"]

# What Go's client keeps idle per host; waiting for one of them counts as latency, too.
_MAX_CONNECTIONS = 25


def percentile(values: list[float], part: float) -> float:
    """
    Return the value below which *part* (0 to 1) of *values* lie.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class _Connections:
    """
    Kept-alive connections; one more is opened when none is idle, up to what an API server keeps.
    """

    def __init__(self, url: str, bodies: Iterator[bytes]) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._bodies = bodies
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._free = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def post(self) -> int:
        """
        Send the next review; return the status of the answer.
        """
        async with self._free:
            return await self._post()

    async def _post(self) -> int:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(*self._address, ssl=self._context)
        body = next(self._bodies)
        writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.transport.abort()


class _Tally:
    """
    Latencies in milliseconds, and what went wrong.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.errors = 0

    async def measure(self, connections: _Connections, due: float) -> None:
        try:
            status = await connections.post()
        except (OSError, EOFError, ValueError, asyncio.IncompleteReadError):
            status = 0
        if status == 200:
            self.latencies.append((time.perf_counter() - due) * 1e3)
        else:
            self.errors += 1


async def _open_loop(
    connections: _Connections, tally: _Tally, rate: float, seconds: float
) -> None:
    """
    Send at fixed times, whether or not earlier answers have come; waiting counts as latency.
    """
    started = time.perf_counter()
    running: set[asyncio.Task[None]] = set()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(tally.measure(connections, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def _closed_loop(
    connections: _Connections, tally: _Tally, clients: int, seconds: float
) -> None:
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (now := time.perf_counter()) < end:
            await tally.measure(connections, now)

    await asyncio.gather(*(client() for _ in range(clients)))


async def _run(options: argparse.Namespace) -> dict[str, float]:
    tally = _Tally()
    workload = Workload(options.template, options.shapes)
    connections = _Connections(options.url, workload.bodies(options.first))
    await asyncio.gather(*(tally.measure(connections, time.perf_counter()) for _ in range(8)))
    tally.latencies.clear()
    started = time.perf_counter()
    if options.rate:
        await _open_loop(connections, tally, options.rate, options.seconds)
    else:
        await _closed_loop(connections, tally, options.clients, options.seconds)
    seconds = time.perf_counter() - started
    connections.close()
    latencies = tally.latencies or [float("nan")]
    return {
        "requests": len(tally.latencies),
        "seconds": seconds,
        "errors": tally.errors,
        "p50": percentile(latencies, 0.5),
        "p99": percentile(latencies, 0.99),
        "p999": percentile(latencies, 0.999),
        "longest": max(latencies),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Send admission reviews.")
    parser.add_argument("url")
    parser.add_argument("template", type=Path, help="the file that reviews are made from")
    parser.add_argument("--shapes", type=int, default=1, help="of Pods; 0: as many as reviews")
    parser.add_argument("--first", type=int, default=0, help="the number of the first review")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0, help="per second; open loop")
    parser.add_argument("--clients", type=int, default=8, help="closed loop, without --rate")
    print(json.dumps(asyncio.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
