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

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.base import installed, last_tag
from benchmarks.cluster import creations, record
from benchmarks.growth import growth
from benchmarks.load import TOOL, compare, drive, drive_at
from benchmarks.machine import describe, others_busy
from benchmarks.report import BARE, PARSING, PRODUCT, into_docs, tables
from benchmarks.reviews import SHAPES, Workload
from benchmarks.servers import bare, memory, webhook
from webhook.demo.cluster import Cluster
from webhook.demo.standin import ThreadedStandIn


_ROOT: Final = Path(__file__).parent.parent
_RATE: Final = 500
_REVIEWS: Final = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--base", default=last_tag(), help="the commit to compare with; the last tag if absent"
    )
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md, too")
    parser.add_argument("--quick", action="store_true", help="shorter, and less exact")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "tool": TOOL,
    }
    with ExitStack() as stack:
        command = name = None
        if options.base:
            _say(f"installing {options.base}")
            revision, command = stack.enter_context(installed(options.base))
            name = f"{PRODUCT} at {revision}"
        else:
            _say("no tag, and no commit is named by BASE: the product is compared with none")
        results["warnings"] = [before] if (before := others_busy()) else []
        for warning in results["warnings"]:
            _say(f"WARNING: {warning}")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        harbor = stack.enter_context(ThreadedStandIn())
        results |= _measure(directory, harbor, name, command, quick=options.quick)
        if after := others_busy():
            results["warnings"].append(after)
    build = _ROOT / "build"
    build.mkdir(exist_ok=True)
    (build / "benchmarks.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    text = tables(results)
    print(text)
    if options.docs:
        into_docs(_ROOT / "docs" / "performance.md", text)


def _measure(
    directory: Path,
    harbor: ThreadedStandIn,
    base: str | None,
    command: Path | None,
    *,
    quick: bool,
) -> dict[str, Any]:
    results: dict[str, Any] = {"base": base}
    rounds, seconds, count = (2, 2, 200) if quick else (5, 3, 1000)
    starts = []
    for number in range(1 if quick else 5):
        with webhook(directory / f"start-{number}", harbor) as started:
            starts.append(started.ready_seconds)
    results["ready"] = statistics.median(starts)
    with ExitStack() as stack:
        ours = stack.enter_context(webhook(directory / "webhook", harbor))
        servers = {PRODUCT: ours}
        before = None
        if base:
            before = stack.enter_context(webhook(directory / "base", harbor, command=command))
            servers[base] = before
        with Cluster(directory / "cluster") as cluster:
            _say("recording reviews")
            templates = asyncio.run(record(cluster, directory))
            results["bytes"] = {name: file.stat().st_size for name, file in templates.items()}
            _say("creating Pods through the API server")
            results["creations"] = asyncio.run(
                creations(cluster, ours, (base, before) if base and before else None, count)
            )
        servers[PARSING] = stack.enter_context(bare(directory / "parsing", "parse"))
        servers[BARE] = stack.enter_context(bare(directory / "bare"))
        results["throughput"] = []
        for name, shapes in _workloads():
            _say(f"{name}, {f'{shapes:,} shapes' if shapes else 'never twice'}")
            workload = Workload(templates[name], shapes)
            if shapes:  # What is to be remembered is.
                for server in servers.values():
                    drive(server, workload, 1)
            runs = compare(
                servers,
                workload,
                rounds=rounds,
                seconds=seconds,
                against=(BARE, *([base] if base else ())),
            )
            results["throughput"].append({"review": name, "shapes": shapes, "runs": runs})
        _say(f"{_RATE} reviews a second")
        results["open loop"] = {
            name: drive_at(server, Workload(templates["typical"], 300), _RATE, 5 if quick else 20)
            for name, server in servers.items()
        }
    with webhook(directory / "memory", harbor) as ours:
        reviews = 5_000 if quick else _REVIEWS
        _say(f"memory after {reviews:,} reviews of 10,000 shapes")
        results["memory"] = {"at start": memory(ours.pid)["now"]}
        sent = 0
        while sent < reviews:
            sent += drive(ours, Workload(templates["typical"], 10_000), 5)["requests"]
        results["memory"] |= {"reviews": sent, **memory(ours.pid)}
    _say("growth")
    results["growth"] = growth()
    return results


def _workloads() -> list[tuple[str, int]]:
    """
    Return what is sent: the typical Pod in all numbers of shapes, the others in one.

    Few Pods of a cluster are that large, and they are of few shapes.
    """
    shapes = {"small": 300, "200 containers": 10, "1 MB": 10}
    return [*(("typical", number) for number in SHAPES), *shapes.items()]


def _say(what: str) -> None:
    print(f"... {what}", flush=True)


if __name__ == "__main__":
    main()
