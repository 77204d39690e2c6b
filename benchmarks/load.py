"""
Load on a server, from a core of its own.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys

from pathlib import Path
from typing import Any, Final

from benchmarks.servers import Server, cpu_seconds


__all__ = ["TOOL", "compare", "drive", "drive_at"]

_LOAD_CORE: Final = 1
_CLIENTS: Final = 8
TOOL: Final = "wrk" if shutil.which("wrk") else "benchmarks.generator"


def drive(server: Server, body: Path, seconds: float) -> dict[str, Any]:
    """
    Send as many reviews as the server takes, over 8 kept-alive connections.

    Returns requests, seconds, errors, p50, p99 and p999 in milliseconds, `rate` per second, and
    `cpu`: the server's processor seconds per 1,000 reviews.
    """
    before = cpu_seconds(server.pid)
    if TOOL == "wrk":
        command = [
            *("wrk", "-t1", f"-c{_CLIENTS}", f"-d{seconds:.0f}s"),
            *("-s", str(Path(__file__).parent / "review.lua"), server.url, "--", str(body)),
        ]
    else:
        command = [*_generator(server, body, seconds), f"--clients={_CLIENTS}"]
    result = _run(command)
    result["rate"] = result["requests"] / result["seconds"]
    result["cpu"] = (cpu_seconds(server.pid) - before) / result["requests"] * 1000
    return result


def drive_at(server: Server, body: Path, rate: float, seconds: float) -> dict[str, Any]:
    """
    Send at a fixed rate, whatever the server does (open loop); latencies count from when it was due.
    """
    return _run([*_generator(server, body, seconds), f"--rate={rate}"])


def compare(
    servers: dict[str, Server], body: Path, *, rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """
    Drive servers in turn, several rounds; return the median of each figure for each.

    `share` is the rate as a part of the last server's: the median over the rounds too, so that
    what disturbs the machine for a while disturbs both sides of the fraction.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            results[name].append(drive(server, body, seconds))
    *_, limit = results.values()
    for runs in results.values():
        for run, bound in zip(runs, limit, strict=True):
            run["share"] = run["rate"] / bound["rate"]
    return {name: _medians(runs) for name, runs in results.items()}


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return summary | {"errors": sum(run["errors"] for run in runs)}


def _generator(server: Server, body: Path, seconds: float) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.generator", server.url, str(body)]
    return [*command, f"--seconds={seconds}"]


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
