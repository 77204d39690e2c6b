"""
Load on a server, from a core of its own.
"""

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

from pathlib import Path
from typing import Any, Final

from benchmarks.reviews import NUMBER, SHAPE, Workload
from benchmarks.servers import Server, cpu_seconds


__all__ = ["TOOL", "compare", "drive", "drive_at"]

_LOAD_CORE: Final = 1
_CLIENTS: Final = 8
TOOL: Final = "wrk" if shutil.which("wrk") else "benchmarks.generator"

# No review is sent twice in a run: each drive begins where none before it can have come to.
_first: Final = itertools.count(0, 1_000_000)


def drive(server: Server, workload: Workload, seconds: float) -> dict[str, Any]:
    """
    Send as many reviews as the server takes, over 8 kept-alive connections.

    Returns requests, seconds, errors, p50, p99 and p999 in milliseconds, `rate` per second, `cpu`:
    the server's processor seconds per 1,000 reviews, and `busy`: the part of its core that it used.
    """
    before, started = cpu_seconds(server.pid), time.perf_counter()
    if TOOL == "wrk":
        script = Path(__file__).parent / "review.lua"
        options = [str(workload.file), str(workload.shapes), str(next(_first)), NUMBER, SHAPE]
        command = [
            *("wrk", "-t1", f"-c{_CLIENTS}", f"-d{seconds:.0f}s"),
            *("-s", str(script), server.url, "--", *options),
        ]
    else:
        command = [*_generator(server, workload, seconds), f"--clients={_CLIENTS}"]
    result = _run(command)
    used = cpu_seconds(server.pid) - before
    result["rate"] = result["requests"] / result["seconds"]
    result["cpu"] = used / result["requests"] * 1000
    result["busy"] = used / (time.perf_counter() - started)
    return result


def drive_at(server: Server, workload: Workload, rate: float, seconds: float) -> dict[str, Any]:
    """
    Send at a fixed rate, whatever the server does (open loop); latencies count from when it was due.
    """
    return _run([*_generator(server, workload, seconds), f"--rate={rate}"])


def compare(
    servers: dict[str, Server],
    workload: Workload,
    *,
    rounds: int,
    seconds: float,
    against: tuple[str, ...],
) -> dict[str, dict[str, Any]]:
    """
    Drive servers in turn, several rounds; return the median of each figure for each.

    `share` holds the rate as a part of that of each server in *against*: the median over the
    rounds too, so that what disturbs the machine for a while disturbs both sides of the fraction.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            results[name].append(drive(server, workload, seconds))
    medians = {name: _medians(runs) for name, runs in results.items()}
    for name, runs in results.items():
        medians[name]["share"] = {
            other: statistics.median(
                run["rate"] / bound["rate"]
                for run, bound in zip(runs, results[other], strict=True)
            )
            for other in against
            if other in results
        }
    return medians


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return summary | {"errors": sum(run["errors"] for run in runs)}


def _generator(server: Server, workload: Workload, seconds: float) -> list[str]:
    return [
        *(sys.executable, "-m", "benchmarks.generator", server.url, str(workload.file)),
        f"--shapes={workload.shapes}",
        f"--first={next(_first)}",
        f"--seconds={seconds}",
    ]


def _run(command: list[str]) -> dict[str, Any]:
    core = {_LOAD_CORE % (os.cpu_count() or 1)}
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    return json.loads(done.stdout.strip().splitlines()[-1])
