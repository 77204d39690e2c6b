"""
Clients that want all of a replica: under the chart's memory limit, and a container's file limit.
"""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.faults.crowd import crowd
from tests.faults.memory import memory_group
from tests.faults.scenario import Faults
from tests.faults.stage import Stage
from tests.faults.visitors import visit
from tests.faults.wire import memory
from tests.support.kube.webhook import WebhookProcess


__all__ = ["FAULTS", "contained", "judge"]

FAULTS: Final = Faults()

_LIMIT: Final = 256 * 1024 * 1024
_FILES: Final = 1024
_VISITORS: Final = 200
_HEALTH: Final = 1.0
_AFTER: Final = 10.0

_FLOODS: Final = {
    "10,000 silent TCP connections": ("silent", 10_000),
    "10,000 half hellos": ("hello", 10_000),
    "5,000 handshakes and silence": ("shaken", 5_000),
    "2,000 connections with one review each": ("once", 2_000),
    "1,000 slow bodies of 250 KiB": ("drip", 1_000),
    "5,000 half requests at the ops port": ("ops", 5_000),
}


@asynccontextmanager
async def contained(stage: Stage, size: int = _LIMIT) -> AsyncIterator[WebhookProcess]:
    """
    Have a replica that can take *size* bytes of memory, and 1,024 files at its start.
    """
    replica = stage.replicas[0]
    command = replica.program.command
    await asyncio.to_thread(replica.stop)
    try:
        with memory_group(size) as group:
            replica.program.command = group.inside(command, _FILES)
            await asyncio.to_thread(replica.start)
            await stage.balancer.all_ready()
            try:
                yield replica
                if group.kills or not replica.program.running:
                    raise AssertionError(f"it was killed ({group.kills} times for its memory)")
            finally:
                await asyncio.to_thread(replica.program.kill)
    finally:
        replica.program.command = command
        await asyncio.to_thread(replica.start)
        await stage.balancer.all_ready()


def judge(found: dict[str, float], visitors: int = _VISITORS) -> str:
    """
    Say how reviews and looks at the health fared.

    Raises:
        AssertionError: more than one in a hundred was not answered in time.
    """
    said = (
        f"{found['answered']} of {visitors} reviews within 2 s"
        f" (p50 {found['p50'] * 1000:.0f} ms, p99 {found['p99'] * 1000:.0f} ms),"
        f" /livez within {found['health'] * 1000:.0f} ms"
    )
    if found["answered"] < visitors * 0.99 or found["health"] > _HEALTH:
        raise AssertionError(said)
    return said


async def _flood(stage: Stage, kind: str, count: int) -> str:
    async with contained(stage) as replica:
        pid = replica.program.pid
        port = replica.ops_port if kind == "ops" else replica.port
        async with crowd(kind, port, count) as answers:
            found = await visit(replica.port, replica.ops_port, _VISITORS)
            during = memory(pid)
        await asyncio.sleep(_AFTER)
        if answers["connections"] < count:
            raise AssertionError(f"the clients got {answers['connections']} connections only")
        return f"{judge(found)}; memory {during:.0f} MiB, 10 s later {memory(pid):.0f} MiB"


def _named(name: str, kind: str, count: int) -> None:
    @FAULTS.named(name)
    async def _(stage: Stage) -> str:
        return await _flood(stage, kind, count)


for _name, (_kind, _count) in _FLOODS.items():
    _named(_name, _kind, _count)
