"""
A long run on one replica: `make soak`.  Every twentieth client means harm.

Fails if a review was not answered with 200, or if memory after the first minute grows by more than
5 %.
"""

import argparse
import subprocess
import sys
import tempfile

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.load import drive_at
from benchmarks.machine import describe
from benchmarks.pods import PODS, review_of
from benchmarks.reviews import Workload, template
from benchmarks.servers import Server, memory, webhook
from webhook.demo.standin import ThreadedStandIn


_RATE: Final = 300
_GROWTH: Final = 1.05
_HOSTILE: Final = _RATE * 5 // 100


@contextmanager
def hostile_clients(server: Server) -> Iterator[None]:
    """
    Let clients come that send nothing, half of something, or something slowly.
    """
    port = urlsplit(server.url).port
    command = (sys.executable, "-m", "tests.faults.crowd", "mix", str(port), str(_HOSTILE))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if not process.stdout.readline():
            raise RuntimeError("the hostile clients did not begin")
        yield
        if process.poll() is not None:
            raise RuntimeError("the hostile clients did not stay")
    finally:
        process.kill()
        process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30, help="two at the least")
    minutes = parser.parse_args().minutes
    if minutes < 2:
        parser.error(
            "memory after the first minute is compared with later: two minutes are needed"
        )
    print("; ".join(f"{key}: {value}" for key, value in describe().items()))
    errors = 0
    used: list[float] = []
    with tempfile.TemporaryDirectory() as name, ThreadedStandIn() as harbor:
        directory = Path(name)
        workload = Workload(directory / "review.json", shapes=300)
        workload.file.write_bytes(template(review_of(PODS["typical"])))
        with webhook(directory / "webhook", harbor) as server, hostile_clients(server):
            for minute in range(1, minutes + 1):
                run = drive_at(server, workload, _RATE, 60)
                errors += run["errors"]
                used.append(memory(server.pid)["now"])
                print(
                    f"minute {minute}: {run['requests']:,} reviews, {run['errors']} errors, "
                    f"p50 {run['p50']:.2f} ms, p99 {run['p99']:.2f} ms, {used[-1]:.1f} MiB",
                    flush=True,
                )
    grown = max(used) / used[0]
    print(f"{errors} errors; memory after the first minute grew by {grown - 1:.1%} at most")
    return 0 if errors == 0 and grown <= _GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
