"""
Faults of the webhook's own processes, and of the API server that calls them.
"""

import asyncio
import os
import resource
import signal

from pathlib import Path
from typing import Final

from tests.faults.scenario import Faults
from tests.faults.stage import Stage
from tests.faults.wire import large_review, post
from tests.kube.balancer import Backend
from webhook.demo.cluster import free_port
from webhook.standin.faults import BlackHole


__all__ = ["FAULTS"]

FAULTS: Final = Faults()

_MIB: Final = 1024 * 1024


@FAULTS.named("A replica is killed (SIGKILL)")
async def _sigkill(stage: Stage) -> str:
    replica = stage.replicas[0]
    await asyncio.to_thread(replica.program.kill)
    await asyncio.sleep(2)
    await stage.stays(1, hub=True, quay=True)
    await asyncio.to_thread(replica.start)
    await stage.balancer.all_ready()
    return "the other one goes on"


@FAULTS.named("A replica hangs (SIGSTOP)")
async def _sigstop(stage: Stage) -> str:
    pid = stage.replicas[0].program.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(8)
    finally:
        os.kill(pid, signal.SIGCONT)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    return "a review that meets it waits for the timeout of 2 s at most"


@FAULTS.named("A replica is a black hole")
async def _black_hole_replica(stage: Stage) -> str:
    port = free_port()
    hole = BlackHole("127.0.0.1", port)
    backend = Backend(port, f"{stage.replicas[1].ops_url}/readyz")
    stage.balancer.counts[backend] = 0
    stage.balancer.backends.append(backend)
    try:
        await stage.balancer.all_ready()
        await asyncio.to_thread(stage.replicas[0].stop)  # Its connections have to go elsewhere.
        await asyncio.sleep(6)
    finally:
        stage.balancer.backends.remove(backend)
        stage.balancer.ready.discard(backend)
        hole.close()
        await asyncio.to_thread(stage.replicas[0].start)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    return "a review that meets it waits for the timeout of 2 s at most"


@FAULTS.named("A replica runs out of memory")
async def _memory_limit(stage: Stage) -> str:
    replica = stage.replicas[0]
    pid = replica.program.pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used + 8 * _MIB, used + 8 * _MIB))
    answers = await asyncio.gather(
        *(post(replica.port, large_review()) for _ in range(8)), return_exceptions=True
    )
    await asyncio.sleep(1)
    alive = replica.program.running
    await asyncio.to_thread(replica.program.kill)
    await asyncio.to_thread(replica.start)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    failed = sum(isinstance(answer, BaseException) for answer in answers)
    return (
        f"of 8 large reviews {failed} found no answer; the process {'lived' if alive else 'died'}"
    )


@FAULTS.named("All replicas are gone")
async def _all_gone(stage: Stage) -> str:
    for replica in stage.replicas:
        await asyncio.to_thread(replica.program.kill)
    down = await stage.until_kept()
    await stage.stays(2, hub=False, quay=False)
    await asyncio.gather(*(asyncio.to_thread(each.start) for each in stage.replicas))
    await stage.balancer.all_ready()
    up = await stage.until_rewritten()
    return f"left alone after {down:.1f} s, rewritten again after {up:.1f} s"


@FAULTS.named("Replicas restart in turn (SIGTERM)")
async def _rolling(stage: Stage) -> str:
    before = stage.tally.kept
    for replica in stage.replicas:
        await asyncio.to_thread(replica.stop)
        await asyncio.to_thread(replica.start)
        await stage.balancer.all_ready()
    missed = stage.tally.kept - before
    if missed:
        raise AssertionError(f"{missed} Pods were not rewritten")
    return "every Pod was rewritten"


@FAULTS.named("The API server restarts")
async def _api_server(stage: Stage) -> str:
    await asyncio.to_thread(stage.cluster.stop_api_server)
    await asyncio.to_thread(stage.cluster.start_api_server)
    stage.tally.last.clear()
    await stage.until(lambda last: len(last) == 2 and all(last.values()))
    return "rewritten again at once"
