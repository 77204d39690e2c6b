"""
All benchmarks in one run: `make bench`.

Results go to the standard output as tables, to `build/benchmarks.json`, and, with `--docs`, into
`docs/performance.md` between the markers there.
"""

import argparse
import asyncio
import json
import statistics
import tempfile

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster import creations, record
from benchmarks.growth import growth
from benchmarks.load import TOOL, compare, drive, drive_at
from benchmarks.machine import describe
from benchmarks.report import BARE, PARSING, into_docs, tables
from benchmarks.servers import bare, memory, webhook
from webhook.demo.cluster import Cluster
from webhook.demo.standin import ThreadedStandIn


_ROOT: Final = Path(__file__).parent.parent
_RATE: Final = 500
_REVIEWS: Final = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md, too")
    parser.add_argument("--quick", action="store_true", help="shorter, and less exact")
    options = parser.parse_args()
    results = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "tool": TOOL,
    }
    with tempfile.TemporaryDirectory() as directory, ThreadedStandIn() as harbor:
        results |= _measure(Path(directory), harbor, quick=options.quick)
    build = _ROOT / "build"
    build.mkdir(exist_ok=True)
    (build / "benchmarks.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    text = tables(results)
    print(text)
    if options.docs:
        into_docs(_ROOT / "docs" / "performance.md", text)


def _measure(directory: Path, harbor: ThreadedStandIn, *, quick: bool) -> dict[str, Any]:
    results: dict[str, Any] = {}
    rounds, seconds, count = (1, 2, 200) if quick else (5, 3, 1000)
    starts = []
    for number in range(1 if quick else 5):
        with webhook(directory / f"start-{number}", harbor) as started:
            starts.append(started.ready_seconds)
    results["ready"] = statistics.median(starts)
    with Cluster(directory / "cluster") as cluster:
        _say("recording reviews")
        bodies = asyncio.run(record(cluster, directory))
        results["bytes"] = {name: body.stat().st_size for name, body in bodies.items()}
        _say("creating Pods through the API server")
        with webhook(directory / "through", harbor) as ours:
            results["creations"] = asyncio.run(creations(cluster, ours, count))
    with (
        webhook(directory / "webhook", harbor) as ours,
        bare(directory / "parsing", "parse") as parsing,
        bare(directory / "bare") as constant,
    ):
        servers = {"harbor-cache": ours, PARSING: parsing, BARE: constant}
        results["throughput"] = {}
        for name, body in bodies.items():
            _say(f"{name}, as fast as it goes")
            results["throughput"][name] = compare(servers, body, rounds=rounds, seconds=seconds)
        _say(f"{_RATE} reviews a second")
        results["open loop"] = {
            name: drive_at(server, bodies["typical"], _RATE, 5 if quick else 20)
            for name, server in servers.items()
        }
    with webhook(directory / "memory", harbor) as ours:
        _say(f"memory after {_REVIEWS:,} reviews")
        results["memory"] = {"at start": memory(ours.pid)["now"]}
        sent = 0
        while sent < (5_000 if quick else _REVIEWS):
            sent += drive(ours, bodies["typical"], 5)["requests"]
        results["memory"] |= {"reviews": sent, **memory(ours.pid)}
    _say("growth")
    results["growth"] = growth()
    return results


def _say(what: str) -> None:
    print(f"... {what}", flush=True)


if __name__ == "__main__":
    main()
