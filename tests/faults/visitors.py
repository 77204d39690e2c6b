"""
Ordinary clients of a replica: `python -m tests.faults.visitors PORT OPS_PORT COUNT`.

They are a process of their own, so that nobody else's work is measured.  Each review comes over a
connection of its own, as from an API server that has just started; every fourth is one of 60 KB.
Health is looked at meanwhile, as the kubelet does.  One line of JSON tells how long it all took.
"""

import argparse
import asyncio
import json
import sys
import time

from typing import Any

from benchmarks.pods import PODS, review_of
from tests.faults.wire import post


__all__ = ["visit"]

_WITHIN = 2.0
_PAUSE = 0.02
_LOOK = 0.25


async def visit(port: int, ops_port: int, count: int) -> dict[str, Any]:
    """
    Send *count* reviews from a process of its own; return what became of them.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.visitors", str(port), str(ops_port), str(count)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    found: dict[str, Any] = json.loads(output)
    return found


async def _run(port: int, ops_port: int, count: int) -> dict[str, Any]:
    looked: list[float] = []
    looking = asyncio.create_task(_look(ops_port, looked))
    small = review_of(PODS["small"])
    # Blanks are JSON, too: as many bytes as a Pod with much in it has.
    bodies = (small, small, small, small + b" " * (60_000 - len(small)))
    times: list[float] = []
    for number in range(count):
        times.append(await _timed(post(port, bodies[number % 4], within=10.0)))
        await asyncio.sleep(_PAUSE)
    looking.cancel()
    times.sort()
    return {
        "answered": sum(each <= _WITHIN for each in times),
        "p50": times[count // 2],
        "p99": times[count * 99 // 100 - 1],
        "longest": times[-1],
        "health": max(looked, default=float("inf")),
    }


async def _look(port: int, looked: list[float]) -> None:
    while True:
        looked.append(await _timed(_get(port)))
        await asyncio.sleep(_LOOK)


async def _get(port: int) -> int:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            return int((await reader.readline()).split()[1])
        finally:
            writer.transport.abort()


async def _timed(asking: Any) -> float:
    """
    Return the seconds until an answer with 200; without end where there was none.
    """
    started = time.monotonic()
    try:
        status = await asking
    except (OSError, TimeoutError, IndexError):
        return float("inf")
    return time.monotonic() - started if status == 200 else float("inf")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults.visitors", description=__doc__)
    for name in ("port", "ops_port", "count"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(_run(options.port, options.ops_port, options.count))))
