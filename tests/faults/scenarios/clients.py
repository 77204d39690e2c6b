"""
Clients that mean harm, or do it.
"""

import asyncio

from typing import Final

from benchmarks.load import drive_at
from benchmarks.pods import PODS, review_of
from benchmarks.reviews import Workload, template
from benchmarks.servers import Server
from tests.faults.crowd import crowd
from tests.faults.scenario import Faults
from tests.faults.stage import Stage
from tests.faults.wire import peak_memory
from tests.support.kube.webhook import WebhookProcess


__all__ = ["FAULTS"]

FAULTS: Final = Faults()

_RATE: Final = 50
_TIMEOUT: Final = 2000.0
_PROMPT: Final = 100.0


@FAULTS.named("200 clients send a byte a second")
async def _slow_loris(stage: Stage) -> str:
    replica = stage.replicas[0]
    async with crowd("slow", replica.port, 200) as answers:
        small = await _small_reviews(replica, 4, _TIMEOUT)
        await stage.stays(1, hub=True, quay=True)
    return f"{small}; {answers['open']} clients are still there at the end"


@FAULTS.named("1,000 idle connections")
async def _idle(stage: Stage) -> str:
    replica = stage.replicas[0]
    await stage.restart(replica)
    async with crowd("idle", replica.port, 1000) as answers:
        small = await _small_reviews(replica, 5, _TIMEOUT)
        await stage.stays(1, hub=True, quay=True)
        memory = peak_memory(replica.program.pid)
    if answers["open"] != 1000:
        raise AssertionError(f"{answers['open']} connections are still there at the end")
    return f"{small}; {_within_limit(memory)}"


@FAULTS.named("1,000 clients send half of 9 MB")
async def _half(stage: Stage) -> str:
    replica = stage.replicas[0]
    await stage.restart(replica)
    async with crowd("half", replica.port, 1000) as answers:
        small = await _small_reviews(replica, 15, _TIMEOUT)
        memory = peak_memory(replica.program.pid)
    if not answers["408"]:
        raise AssertionError(f"no client was told that it took too long: {dict(answers)}")
    return f"{answers['408']} got 408; {small}; {_within_limit(memory)}"


@FAULTS.named("20 reviews of 9 MB at once")
async def _large(stage: Stage) -> str:
    replica = stage.replicas[0]
    await stage.restart(replica)
    async with crowd("large", replica.port, 20) as answers:
        small = await _small_reviews(replica, 8, _PROMPT)
        memory = peak_memory(replica.program.pid)
    if set(answers) != {"200"}:
        raise AssertionError(f"answers {dict(answers)}")
    return f"{answers['200']} answered; {small}; {_within_limit(memory)}"


async def _small_reviews(replica: WebhookProcess, seconds: float, limit: float) -> str:
    """
    Say how long small reviews take meanwhile, which are sent to *replica* from another process.

    99 of 100 have to be answered within *limit* milliseconds.
    """
    workload = Workload(replica.directory / "small.json")
    workload.file.write_bytes(template(review_of(PODS["small"])))
    server = Server(replica.program.pid, f"{replica.url}/mutate", 0.0, replica.ca_bundle)
    run = await asyncio.to_thread(drive_at, server, workload, _RATE, seconds)
    if run["errors"]:
        raise AssertionError(f"{run['errors']} small reviews found no answer")
    figures = ", ".join(f"{key} {run[key]:.0f} ms" for key in ("p50", "p99", "longest"))
    if run["p99"] > limit:
        raise AssertionError(f"{limit:.0f} ms are the limit for small reviews; {figures}")
    return f"{run['requests']} small ones meanwhile: {figures}"


def _within_limit(memory: float) -> str:
    if memory > 256:
        raise AssertionError(f"peak memory {memory:.0f} MiB of 256")
    return f"peak memory {memory:.0f} MiB"
