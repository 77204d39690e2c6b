"""
The replicas' wall clock jumps, under libfaketime (Debian: faketime); the machine's own stays.
"""

import asyncio
import json
import os

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.pods import PODS, review_of
from tests.faults.scenario import Faults, NotRun
from tests.faults.stage import Stage
from tests.faults.wire import post
from tests.support.kube.balancer import Backend
from tests.support.kube.webhook import WebhookProcess


__all__ = ["FAULTS"]

FAULTS: Final = Faults()

# Python asks for the absolute end of a sleep, which libfaketime 0.9.10 gets wrong: the sleep fails.
# So the replicas sleep by select.
_SLEEP: Final = """\
import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds)
"""
_JUMPS: Final = {"2 days forward": "+2d", "2 days back": "-2d", "50 years forward": "+50y"}
_JUMPS_BACK: Final = {"50 years back": "-50y", "right again": "+0"}


@FAULTS.named("The clock is set forward and back")
async def _clock(stage: Stage) -> str:
    with stage.missing_none():
        async with _replicas_under_a_clock(stage) as (replicas, clock):
            usual = [_known(each) for each in replicas]
            for jump, offset in {**_JUMPS, **_JUMPS_BACK}.items():
                _write(clock, offset)
                await stage.stays(1.5, hub=True, quay=True)
                await stage.shake_hands_again()
                for replica in replicas:
                    await post(replica.port, review_of(PODS["small"]))
                await stage.stays(0.5, hub=True, quay=True)  # The log is written meanwhile.
                for replica, known in zip(replicas, usual, strict=True):
                    await asyncio.to_thread(_check, replica, known, jump, offset)
    return f"every Pod was rewritten: {', '.join({**_JUMPS, **_JUMPS_BACK})}"


@asynccontextmanager
async def _replicas_under_a_clock(
    stage: Stage,
) -> AsyncIterator[tuple[list[WebhookProcess], Path]]:
    """
    Let two other replicas take the reviews, whose clock goes by a file.
    """
    first = stage.replicas[0]
    directory = first.directory.parent
    clock = directory / "clock"
    _write(clock, "+0")
    (directory / "sitecustomize.py").write_text(_SLEEP)
    environment = {**os.environ, **_faketime(clock), "PYTHONPATH": str(directory)}
    config = json.loads(first.config_file.read_text())
    replicas = [
        WebhookProcess(
            directory / f"clock-{number}",
            config,
            stage.authority,
            drain_seconds=1.0,
            environment=environment,
        )
        for number in range(2)
    ]
    soon = datetime.now(UTC) + timedelta(days=30)
    for each in replicas:  # A clock 50 years ahead is past its end, as it would be in a cluster.
        pair = stage.authority.issue_cert("127.0.0.1", not_after=soon)
        each.certificate_file.write_bytes(pair.cert_chain_pems[0].bytes())
        each.key_file.write_bytes(pair.private_key_pem.bytes())
    usual = stage.balancer.backends
    try:
        await asyncio.gather(*(asyncio.to_thread(each.start) for each in replicas))
        stage.balancer.backends = [
            Backend(each.port, f"{each.ops_url}/readyz") for each in replicas
        ]
        await stage.balancer.all_ready()
        await stage.shake_hands_again()
        yield replicas, clock
        stage.balancer.backends = usual
        await stage.balancer.all_ready()
        await stage.shake_hands_again()
    finally:
        stage.balancer.backends = usual
        for each in replicas:
            await asyncio.to_thread(each.stop)


def _faketime(clock: Path) -> dict[str, str]:
    found = [each for root in ("/usr/lib", "/usr/lib64") for each in _libraries(Path(root))]
    if not found:
        raise NotRun("libfaketime is missing (Debian: apt-get install faketime)")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _libraries(root: Path) -> list[Path]:
    name = "faketime/libfaketimeMT.so.1"
    return [*root.glob(name), *root.glob(f"*/{name}")]


def _write(clock: Path, offset: str) -> None:
    new = clock.with_suffix(".new")
    new.write_text(f"{offset}\n")
    new.replace(clock)


def _check(replica: WebhookProcess, known: dict[str, Any], jump: str, offset: str) -> None:
    """
    Check that *replica* answers reviews at the time that it should think it is, and is sane.
    """
    unit = {"d": 1, "y": 365}.get(offset[-1], 0)
    days = int(offset.rstrip("dy")) * unit
    last = datetime.fromisoformat(replica.records("review")[-1]["timestamp"])
    if abs(last - datetime.now(UTC) - timedelta(days=days)) > timedelta(minutes=1):
        raise AssertionError(f"{jump}: the last review was answered at {last}")
    if not replica.ready():
        raise AssertionError(f"{jump}: a replica says that it is not ready")
    if (now := _known(replica)) != known:
        raise AssertionError(f"{jump}: a replica knows {now}, not {known}")


def _known(replica: WebhookProcess) -> dict[str, Any]:
    """
    Return what a replica says of Harbor and of itself, without what changes all the time.
    """
    status = json.loads(replica.read("/status"))
    states = {name: each["state"] for name, each in status["projects"].items()}
    keys = ("fresh", "mode", "quarantined", "certificateNotAfter")
    return {key: status[key] for key in keys} | {"harbor": status["harbor"]["state"], **states}
