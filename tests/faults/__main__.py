"""
The fault campaign: `make faults`.

Every fault happens to a running webhook while Pods are created through a real API server.  A
table goes to the standard output, results to `build/faults.json`, and with `--docs` the table
into `docs/faults.md`.  The exit code is 1 if a Pod was refused or a fault ended otherwise than it
should.  A fault that this machine can't make is said to be not run, and counts as neither.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import traceback

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.report import into_docs, table
from tests.faults.catalogue import SCENARIOS
from tests.faults.scenario import NotRun
from tests.faults.stage import Stage, open_stage


_ROOT: Final = Path(__file__).parent.parent.parent
_WITHIN: Final = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--docs", action="store_true", help="write docs/faults.md, too")
    which.add_argument("--only", default="", help="faults whose name holds this")
    options = parser.parse_args()
    names = [name for name in SCENARIOS if options.only.lower() in name.lower()]
    if not names:
        parser.error(f"no fault's name holds {options.only!r}")
    with tempfile.TemporaryDirectory() as directory:
        results = asyncio.run(_run(names, Path(directory)))
    build = _ROOT / "build"
    build.mkdir(exist_ok=True)
    file = build / ("faults-part.json" if options.only else "faults.json")
    file.write_text(json.dumps(results, indent=2), encoding="utf-8")
    text = _table(results)
    print(text)
    if options.docs:
        into_docs(_ROOT / "docs" / "faults.md", text, by="make faults")
    return 1 if any(result["verdict"] == "FAILED" for result in results.values()) else 0


async def _run(names: list[str], directory: Path) -> dict[str, Any]:
    results: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        # What a failed fault has left behind is no ground for the next one.
        async with open_stage(directory / f"stage-{len(waiting)}") as stage:
            while waiting:
                name = waiting.pop(0)
                result = results[name] = await _one(name, stage)
                print(f"{result['verdict']}: {name}: {result['seen']}", flush=True)
                if result["verdict"] == "FAILED":
                    break
    return results


async def _one(name: str, stage: Stage) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_WITHIN), stage.creating():
            seen = await SCENARIOS[name](stage)
        verdict = "FAILED" if stage.tally.refused else "passed"
    except NotRun as reason:
        seen, verdict = str(reason), "not run"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this fault's verdict.
        traceback.print_exc(limit=-4)
        seen, verdict = f"{type(error).__name__}: {error}", "FAILED"
    return {"verdict": verdict, "seen": seen, **asdict(stage.tally)}


def _table(results: dict[str, Any]) -> str:
    return table(
        ("fault", "Pods created", "refused", "rewritten", "longest creation", "seen", "verdict"),
        (
            (
                name,
                f"{result['created']:,}",
                str(result["refused"]),
                f"{result['rewritten']:,}",
                f"{result['longest'] * 1000:.0f} ms",
                result["seen"],
                result["verdict"],
            )
            for name, result in results.items()
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
