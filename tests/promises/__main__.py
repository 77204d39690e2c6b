"""
The proof of the promises: `make promises`.

Each fault of `mutations.toml` is put into a copy of the tree, and the tests that are named for it
have to fail.  Where they all do, `docs/promises.md` is written; a fault that one of them misses is
an error, and so is a test that fails, or does not run, without it.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile

from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from benchmarks.report import into_docs
from tests.promises.mutations import ROOT, Mutation, Promise, read


_SECONDS: Final = 300
_LEFT_OUT: Final = (".*", "__pycache__", "build", "dist")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose description holds this; no page")
    options = parser.parse_args()
    promises = read()
    faults = [m for p in promises for m in p.mutations if options.only.lower() in m.fault.lower()]
    if not faults:
        parser.error(f"no fault's description holds {options.only!r}")
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        problems = _without(faults, tree) or [
            problem for fault in faults for problem in _under(fault, tree)
        ]
    for problem in problems:
        print(f"ERROR: {problem}", file=sys.stderr)
    if problems:
        return 1
    if not options.only:
        into_docs(ROOT / "docs" / "promises.md", _page(promises), by="make promises")
    return 0


def _without(faults: list[Mutation], tree: Path) -> list[str]:
    """
    Return what is wrong with the tests themselves: without a fault each passes.
    """
    tests = sorted({test for fault in faults for test in fault.tests})
    outcomes = _run(tests, tree)
    return [
        f"{test}: {outcomes.get(test, 'not run')} without any fault"
        for test in tests
        if outcomes.get(test) != "passed"
    ]


def _under(fault: Mutation, tree: Path) -> list[str]:
    """
    Return which tests do not notice *fault*.
    """
    file = tree / fault.file
    healthy = file.read_text(encoding="utf-8")
    file.write_text(fault.applied_to(healthy), encoding="utf-8")
    try:
        outcomes = _run(fault.tests, tree)
    finally:
        file.write_text(healthy, encoding="utf-8")
    missed = [test for test in fault.tests if outcomes.get(test) != "failed"]
    print(f"{'MISSED' if missed else 'caught'}: {fault.fault}", flush=True)
    return [f"{test}: {outcomes.get(test, 'not run')} where: {fault.fault}" for test in missed]


def _run(tests: list[str], tree: Path) -> dict[str, str]:
    """
    Return of each of *tests* whether it passed, failed, or came to something else.

    One that has parameters has failed where it did with any of them.
    """
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    arguments = ("-q", "-p", "no:cacheprovider", "--tb=no", f"--junitxml={report}")
    command = [sys.executable, "-B", "-m", "pytest", *arguments, *tests]
    # The copy comes first: Python puts the directory that it starts in before what is installed.
    subprocess.run(command, cwd=tree, check=False, timeout=_SECONDS, capture_output=True)
    if not report.exists():
        return {}
    outcomes: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        path = case.attrib["classname"].replace(".", "/")
        test = f"{path}.py::{case.attrib['name'].partition('[')[0]}"
        marks = {child.tag for child in case}
        outcome = "passed"
        if marks & {"error", "skipped"}:
            outcome = "not run to its end"
        elif "failure" in marks:
            outcome = "failed"
        if outcomes.get(test, "passed") == "passed":
            outcomes[test] = outcome
    return outcomes


def _page(promises: list[Promise]) -> str:
    count = sum(len(promise.mutations) for promise in promises)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    lines = [
        f"On {day} each of {count} faults was noticed by all tests that are named for it.",
        "",
    ]
    for number, promise in enumerate(promises, 1):
        lines += [f"## {number}. {promise.sentence}", "", promise.what, ""]
        lines += ["| fault | where | noticed by |", "| --- | --- | --- |"]
        for mutation in promise.mutations:
            tests = "<br>".join(_link(test) for test in mutation.tests)
            where = f"[`{mutation.file}`](../{mutation.file})"
            lines.append(f"| {mutation.fault} | {where} | {tests} |")
        lines.append("")
    return "\n".join(lines)


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[`{name}`](../{path})"


if __name__ == "__main__":
    sys.exit(main())
