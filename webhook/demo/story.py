"""
What the demo tells: one Pod before and after, a table of more, Harbor's death and return.

Every line is made from answers that were received; what was not seen makes the demo fail.
"""

import asyncio
import base64
import difflib
import json
import re
import time

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from msgspec import convert
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from webhook.demo.askers import Asker, Created
from webhook.demo.samples import SAMPLES, Expected, Sample
from webhook.demo.stage import Stage
from webhook.demo.standin import Fault
from webhook.pod.model import PodSpec, image_fields


__all__ = ["Story"]

_EVERY: Final = 0.25
_CHANGE_WITHIN: Final = 20.0
_QUIET_SECONDS: Final = 1.5
_LONG: Final = 1000
_DIGEST: Final = re.compile(r"(sha256:[0-9a-f]{4})[0-9a-f]+")

_PROBE: Final = Sample("web", "enforce", {"containers": [{"name": "web", "image": "nginx"}]}, {})


@dataclass(slots=True)
class _Tally:
    sent: int = 0
    refused: int = 0
    rewritten: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)


class Story:
    """
    Tells the story on *console*, asking by *asker*.
    """

    def __init__(
        self,
        console: Console,
        stage: Stage,
        asker: Asker,
        also: Callable[[], Awaitable[list[str]]] | None = None,
    ) -> None:
        """
        Prepare to tell it; *also* tells one more part, and returns what was not seen.
        """
        self._also = also
        self._console = console
        self._stage = stage
        self._asker = asker
        self._tally = _Tally()

    async def tell(self) -> bool:
        """
        Tell all of it; return whether all was seen that should be seen.
        """
        await self._show_one_pod()
        await self._show_table()
        await self._show_outage("Harbor is killed: connections are refused", Fault.REFUSED)
        await self._show_outage("Harbor hangs: it takes requests and never answers", Fault.HANG)
        if self._also is not None:
            self._tally.problems += await self._also()
        return self._show_verdict()

    def _head(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]")

    async def _create(self, sample: Sample) -> Created:
        created = await self._asker.create(sample)
        tally = self._tally
        tally.sent += 1
        tally.refused += not created.accepted
        tally.slowest = max(tally.slowest, created.seconds)
        tally.rewritten += any(reason == "rule" for reason in created.reasons.values())
        return created

    def _problem(self, text: str) -> None:
        self._tally.problems.append(text)

    async def _show_one_pod(self) -> None:
        sample = SAMPLES[0]
        created = await self._create(sample)
        console = self._console
        console.print("[bold]One Pod, as it was sent (-) and as it is created (+)[/bold]\n")
        for line in _difference(sample, created.pod):
            style = {"-": "red", "+": "green"}.get(line[0], "")
            console.print(Text(f"  {line}", style), soft_wrap=True)
        console.print(f"\n  Real:       the webhook, a process of its own at {self._stage.url};")
        console.print(f"              {self._asker.real}")
        console.print(f"  Simulated:  Harbor, by a stand-in at {self._stage.harbor.url}.")
        console.print("              It answers like Harbor 2.15; no image is pulled.")
        console.print(
            f"  The webhook was ready {self._stage.seconds_to_ready:.1f} s after its start."
        )
        self._show_answer(created)

    def _show_answer(self, created: Created) -> None:
        self._head("The answer in full")
        answer = created.answer
        response = answer.get("response", {})
        if "patch" in response:
            self._console.print_json(json.dumps(answer))
            self._console.print("Its patch, decoded:")
            for operation in json.loads(base64.b64decode(response["patch"])):
                self._console.print(f"  {escape(json.dumps(operation))}", soft_wrap=True)
        else:
            shown = {"metadata": _ours(created.pod), "spec": _images(created.pod)}
            self._console.print("The Pod as the API server stored it (our part of it):")
            self._console.print_json(json.dumps(shown))

    async def _show_table(self) -> None:
        self._head("Before and after")
        table = Table(show_lines=False, pad_edge=False)
        for column in ("Pod", "Image before", "Image after", "Why"):
            table.add_column(column, overflow="fold")
        for sample in SAMPLES:
            if not sample.mode and not self._asker.knows_namespaces:
                continue  # Without an API server nobody looks at a namespace's label.
            created = await self._create(sample)
            if not created.accepted:
                self._problem(f"the Pod {sample.name} was refused")
            before = dict(_before(sample))
            after = _images(created.pod)
            title = f"{sample.name}\n({sample.mode or 'not opted in'})"
            for name, expected in sample.expected.items():
                seen: Expected = (after.get(name, "?"), created.reasons.get(name, "?"))
                if seen != expected:
                    self._problem(f"{sample.name}/{name} became {seen}, not {expected}")
                changed = before[name] != seen[0]
                shown = escape(seen[0]) if changed else "(unchanged)"
                color = "green" if changed else "dim"
                table.add_row(title, escape(before[name]), f"[{color}]{shown}[/]", seen[1])
                title = ""
            for warning in created.warnings:
                table.add_row("", "", f"[yellow]{escape(warning)}[/]", "warning")
            if sample.mode == "audit" and not created.warnings:
                self._problem("the audited Pod came without a warning")
        self._console.print(table)

    async def _show_outage(self, title: str, fault: Fault) -> None:
        self._head(title)
        if await self._until("rule", "before") is None:
            return
        await self._stage.harbor.set_fault(fault)
        self._console.print("   0.0 s  Harbor is gone. A Pod is created every quarter second.")
        gap = await self._until("harbor-unavailable", "after Harbor's death")
        if gap is None:
            return
        seconds, pods = gap
        self._console.print(
            f"  {seconds:4.1f} s  {pods} more Pods were still rewritten; now Harbor is judged down.\n"
            "          (In a cluster, the controller restores such Pods in place.)"
        )
        quiet = await self._count("harbor-unavailable")
        self._console.print(f"          {quiet} Pods in a row: created unmodified.")
        await self._stage.harbor.set_fault(Fault.NONE)
        self._console.print("   0.0 s  Harbor is back.")
        back = await self._until("rule", "after Harbor's return")
        if back is not None:
            self._console.print(f"  {back[0]:4.1f} s  Pods are rewritten again.")

    async def _until(self, reason: str, when: str) -> tuple[float, int] | None:
        """
        Create Pods until one gets *reason*; return after how many seconds and how many others.
        """
        started = time.monotonic()
        others = 0
        while time.monotonic() - started < _CHANGE_WITHIN:
            created = await self._create(_PROBE)
            if created.reasons.get("web") == reason:
                return time.monotonic() - started, others
            others += 1
            await asyncio.sleep(_EVERY)
        self._problem(f"no Pod got the reason {reason} within {_CHANGE_WITHIN:.0f} s {when}")
        return None

    async def _count(self, reason: str) -> int:
        """
        Create Pods for a while; every one must get *reason* and keep its image.
        """
        started = time.monotonic()
        count = 0
        while time.monotonic() - started < _QUIET_SECONDS:
            created = await self._create(_PROBE)
            if created.reasons.get("web") != reason or _images(created.pod) != {"web": "nginx"}:
                self._problem(f"a Pod was not kept for the reason {reason}")
            count += 1
            await asyncio.sleep(_EVERY)
        return count

    def _show_verdict(self) -> bool:
        tally = self._tally
        self._head("Verdict")
        self._console.print(
            f"  Pods sent: {tally.sent}   rewritten: {tally.rewritten}   "
            f"refused: {tally.refused}   slowest answer: {tally.slowest * 1000:.0f} ms"
        )
        if tally.refused:
            self._problem(f"{tally.refused} Pods were refused")
        if not tally.rewritten:
            self._problem("no Pod was rewritten")
        for problem in tally.problems:
            self._console.print(f"  [red]NOT SEEN:[/] {escape(problem)}")
        if not tally.problems:
            self._console.print("  [green]All of it was seen.[/]")
        return not tally.problems


def _difference(sample: Sample, after: dict[str, Any]) -> Iterator[str]:
    """
    Yield the lines of what we say in a Pod, each with a sign in front as `diff` puts it.
    """
    old, new = (
        yaml.safe_dump(_part(pod), sort_keys=False, width=_LONG).splitlines()
        for pod in ({"spec": sample.spec}, after)
    )
    lines = difflib.unified_diff(old, new, lineterm="", n=_LONG)
    # Behind the names of the files and the numbers of lines.
    for line in list(lines)[3:]:
        yield _DIGEST.sub(r"\1…", line)


def _part(pod: dict[str, Any]) -> dict[str, Any]:
    spec = pod.get("spec", {})
    containers = {
        key: [{name: container[name] for name in ("name", "image")} for container in spec[key]]
        for key in ("initContainers", "containers")
        if key in spec
    }
    ours = _ours(pod)
    return {**({"metadata": ours} if ours else {}), "spec": containers}


def _images(pod: dict[str, Any]) -> dict[str, str]:
    spec = convert(pod.get("spec", {}), PodSpec)
    return {field.name: field.image for field in image_fields(spec)}


def _before(sample: Sample) -> Iterator[tuple[str, str]]:
    yield from _images({"spec": sample.spec}).items()
    if sample.debugs:
        yield "debugger", "busybox:1.36"


def _ours(pod: dict[str, Any]) -> dict[str, Any]:
    metadata = pod.get("metadata", {})
    return {key: metadata[key] for key in ("labels", "annotations") if key in metadata}
