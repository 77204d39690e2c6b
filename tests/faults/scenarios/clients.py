"""
Clients that mean harm, or do it.
"""

import asyncio

from typing import Final

from tests.faults.scenario import Faults
from tests.faults.stage import Stage
from tests.faults.wire import connect, large_review, peak_memory, post


__all__ = ["FAULTS"]

FAULTS: Final = Faults()


@FAULTS.named("200 clients send a byte a second")
async def _slow_loris(stage: Stage) -> str:
    request = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    opened = [await connect(stage.replicas[0].port) for _ in range(200)]
    for _, writer in opened:
        writer.write(request)
    for _ in range(4):
        for _, writer in opened:
            writer.write(b"X")
        await stage.stays(1, hub=True, quay=True)
    for _, writer in opened:
        writer.transport.abort()
    return "the API server's reviews go through"


@FAULTS.named("1,000 idle connections")
async def _idle(stage: Stage) -> str:
    replica = stage.replicas[0]
    await stage.restart(replica)
    opened = [await connect(replica.port) for _ in range(1000)]
    await stage.stays(2, hub=True, quay=True)
    memory = peak_memory(replica.program.pid)
    for _, writer in opened:
        writer.transport.abort()
    if memory > 256:
        raise AssertionError(f"peak memory {memory:.0f} MiB of 256")
    return f"peak memory {memory:.0f} MiB"


@FAULTS.named("20 reviews of 9 MB at once")
async def _large(stage: Stage) -> str:
    replica = stage.replicas[0]
    await stage.restart(replica)
    body = large_review()
    answers = await asyncio.gather(*(post(replica.port, body) for _ in range(20)))
    memory = peak_memory(replica.program.pid)
    if set(answers) != {200} or memory > 256:
        raise AssertionError(f"answers {set(answers)}, peak memory {memory:.0f} MiB of 256")
    return f"all answered; peak memory {memory:.0f} MiB"
