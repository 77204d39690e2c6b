"""
Faults of the webhook's own processes, and of the API server that calls them.
"""

import asyncio
import os
import resource
import signal

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.pods import PODS, review_of
from tests.faults.memory import memory_group
from tests.faults.scenario import Faults
from tests.faults.stage import Stage
from tests.faults.wire import large_review, post
from tests.support.kube.balancer import Backend
from tests.support.kube.webhook import WebhookProcess
from webhook.demo.cluster import free_port
from webhook.demo.standin.faults import BlackHole


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
    backends = stage.balancer.backends
    stage.balancer.believed = backends[:1]
    await stage.shake_hands_again()  # Every connection leads to the one that will hang.
    with _stopped(stage.replicas[:1]):
        stage.balancer.believed = backends  # For a while, the cluster notices nothing.
        seen = await _met(stage, 4)
        stage.balancer.believed = []
        await stage.until_rewritten()
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    return f"{seen}; then the other one goes on"


@FAULTS.named("All replicas hang (SIGSTOP)")
async def _all_stopped(stage: Stage) -> str:
    with _stopped(stage.replicas):
        stage.balancer.believed = stage.balancer.backends
        seen = await _met(stage, 6)
        await stage.stays(2, hub=False, quay=False)
        stage.balancer.believed = []
    await stage.balancer.all_ready()
    up = await stage.until_rewritten()
    return f"{seen}; rewritten again after {up:.1f} s"


@FAULTS.named("A replica is a black hole")
async def _black_hole_replica(stage: Stage) -> str:
    port = free_port()
    hole = BlackHole("127.0.0.1", port)
    backends = stage.balancer.backends
    backend = Backend(port, f"{stage.replicas[1].ops_url}/readyz")
    try:
        stage.balancer.believed = [backend]
        await stage.shake_hands_again()  # New connections lead nowhere.
        # The hole in the place of the first replica; it is said to be ready, and stays so.
        stage.balancer.believed = [backend, backends[1]]
        seen = await _met(stage, 6)
        stage.balancer.believed = []
        await stage.shake_hands_again()
    finally:
        stage.balancer.believed = []
        hole.close()
    await stage.until_rewritten()
    return f"{seen}; then the other one goes on"


@contextmanager
def _stopped(replicas: Sequence[WebhookProcess]) -> Iterator[None]:
    """
    Let processes hang for as long as the context lasts.
    """
    for replica in replicas:
        os.kill(replica.program.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for replica in replicas:
            os.kill(replica.program.pid, signal.SIGCONT)


async def _met(stage: Stage, seconds: float) -> str:
    """
    Say how many Pods met a fault within some seconds; each waits for the timeout, unchanged.
    """
    tally = stage.tally
    waited, kept = tally.waited, tally.waited_kept
    await asyncio.sleep(seconds)
    waited, kept = tally.waited - waited, tally.waited_kept - kept
    if not waited or waited != kept:
        raise AssertionError(f"{waited} Pods met it, {kept} of them were created unchanged")
    return f"{waited} Pods met it and were created unchanged after the timeout of 2 s"


@FAULTS.named("A replica finds no more memory (RLIMIT_AS)")
async def _memory_limit(stage: Stage) -> str:
    replica = stage.replicas[0]
    pid = replica.program.pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used + 8 * _MIB, used + 8 * _MIB))
    answers = await _large_reviews(replica)
    after = await post(replica.port, review_of(PODS["small"]))
    await asyncio.to_thread(replica.program.kill)
    await asyncio.to_thread(replica.start)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    if set(answers) == {"200"}:
        raise AssertionError("there was memory enough")
    if after != 200:
        raise AssertionError(f"{_counted(answers)}; a small one then got {after}")
    return f"{_counted(answers)}, a small one then {after}"


@FAULTS.named("The kernel kills a replica for its memory (cgroup)")
async def _memory_killed(stage: Stage) -> str:
    replica = stage.replicas[0]
    with memory_group(16 * _MIB) as group:
        group.add(replica.program.pid)
        answers = await _large_reviews(replica)
        killed = group.kills
        await asyncio.to_thread(replica.program.kill)
    if not killed:
        raise AssertionError(f"the kernel killed nothing; {_counted(answers)}")
    await stage.stays(1, hub=True, quay=True)
    await asyncio.to_thread(replica.start)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    return f"killed; {_counted(answers)}; the other one goes on"


async def _large_reviews(replica: WebhookProcess) -> list[str]:
    """
    Send eight large reviews at once; return the statuses, or what came instead.
    """
    body = large_review()
    sent = (post(replica.port, body) for _ in range(8))
    answers = await asyncio.gather(*sent, return_exceptions=True)
    return ["no answer" if isinstance(each, BaseException) else str(each) for each in answers]


def _counted(answers: list[str]) -> str:
    counts = (f"{number} got {answer}" for answer, number in Counter(answers).items())
    return f"of {len(answers)} reviews of 9 MB {', '.join(counts)}"


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
    with stage.missing_none():
        for replica in stage.replicas:
            await asyncio.to_thread(replica.stop)
            await asyncio.to_thread(replica.start)
            await stage.balancer.all_ready()
    return "every Pod was rewritten"


@FAULTS.named("The API server restarts")
async def _api_server(stage: Stage) -> str:
    await asyncio.to_thread(stage.cluster.stop_api_server)
    await asyncio.to_thread(stage.cluster.start_api_server)
    stage.tally.last.clear()
    up = await stage.until(lambda last: len(last) == 2 and all(last.values()))
    return f"rewritten again after {up:.1f} s"
