"""
A survey as tables for a terminal.
"""

import io

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from webhook.image.decision import Reason
from webhook.survey import Survey
from webhook.survey.explanation import REASONS
from webhook.survey.formats.advice import next_steps
from webhook.text import printable


__all__ = ["as_table"]

_UNFOLDED: Final = 100_000
_GOOD: Final = "green"
_BAD: Final = "bold red"
_STYLES: Final = {
    "would-rewrite": _GOOD,
    "kept": "yellow",
    "enforce": _GOOD,
    "audit": "cyan",
    "unknown": _BAD,
    "excluded": "yellow",
}


def as_table(survey: Survey, width: int | None = None, *, color: bool = False) -> str:
    """
    Return *survey* for a terminal of *width* columns; nothing in it can act on the terminal.
    """
    output = io.StringIO()
    console = Console(
        file=output,
        # Nothing is folded in a file or a pipe, where programs read it.
        width=width or _UNFOLDED,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    pods = survey.pods
    console.print(
        f"{pods.total} Pods of {len(survey.workloads)} workloads in "
        f"{len(survey.namespaces)} namespaces of {_plain(survey.cluster)}"
    )
    console.print(
        f"{survey.would_rewrite} of {survey.uses} image uses would be pulled through "
        f"{survey.harbor}; Pods now: {pods.cached} on Harbor, {pods.direct} direct, "
        f"{pods.restored} restored"
    )
    if survey.installed is False:
        console.print("harbor-cache-webhook is not installed in this cluster")
    if survey.placeholder:
        console.print(
            f"{survey.harbor} is a placeholder: {_plain(survey.placeholder)}", style=_BAD
        )
    console.print(
        f"A start of the whole fleet pulls {survey.rate_limited_pulls} images from registries "
        "with a rate limit"
    )
    for table in (_registries(survey), _reasons(survey), _namespaces(survey), _workloads(survey)):
        if table.row_count:
            console.print()
            console.print(table)
    _extras(console, survey)
    return "".join(f"{line.rstrip()}\n" for line in output.getvalue().split("\n")[:-1])


def _table(title: str, *columns: str, numbers: int) -> Table:
    """
    Return a table whose last *numbers* columns are numbers.
    """
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for position, column in enumerate(columns):
        right = position >= len(columns) - numbers
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return table


def _registries(survey: Survey) -> Table:
    table = _table(
        "Registries",
        *("registry", "project", "images", "Pods", "uses", "would rewrite", "pulls", "each start"),
        numbers=6,
    )
    for r in survey.registries:
        numbers = (r.images, r.pods, r.uses, r.would_rewrite, r.pulls, r.every_start)
        table.add_row(_plain(r.registry), r.project or "no rule", *map(str, numbers))
    return table


def _reasons(survey: Survey) -> Table:
    table = _table("Why", "reason", "in words", "uses", numbers=1)
    for reason, count in survey.reasons.items():
        table.add_row(str(reason), REASONS[Reason(reason)], str(count))
    return table


def _namespaces(survey: Survey) -> Table:
    table = _table(
        "Namespaces",
        *("namespace", "mode", "note", "Pods", "on Harbor", "restored", "would rewrite", "kept"),
        numbers=5,
    )
    for n in survey.namespaces:
        mode = n.mode if n.mode != "unknown" else f"unknown ({printable(n.label or '', 40)})"
        numbers = (n.pods.total, n.pods.cached, n.pods.restored, n.would_rewrite, n.kept)
        table.add_row(
            _plain(n.name), Text(mode, _STYLES.get(n.mode, "")), n.why, *map(str, numbers)
        )
    return table


def _workloads(survey: Survey) -> Table:
    table = _table(
        "Workloads", "namespace", "workload", "image", "outcome", "reason", "Pods", numbers=1
    )
    for workload in survey.workloads:
        for image in workload.images:
            table.add_row(
                _plain(workload.namespace),
                _plain(f"{workload.kind.lower()}/{workload.name}"),
                _plain(image.image),
                Text(image.outcome, _STYLES[image.outcome]),
                str(image.reason),
                str(workload.pods.total),
            )
    return table


def _extras(console: Console, survey: Survey) -> None:
    for title, lines in (
        ("Harbor", [f"{p.name}: {p.state} {p.why}".rstrip() for p in survey.probes or ()]),
        (
            "Preflight",
            [
                f"{r.namespace}: {r.outcome} {r.policy or ''} {r.message}".rstrip()
                for r in survey.preflight or ()
            ],
        ),
        (
            "Nodes",
            [
                f"{n.node}: pulls {n.at_once or 'any number of'} "
                f"image{'' if n.at_once == 1 else 's'} at a time"
                for n in survey.nodes or ()
            ],
        ),
        ("Not seen", [f"{unseen.what}: {unseen.why}" for unseen in survey.unseen]),
    ):
        if lines:
            console.print(f"\n{title}")
            for line in lines:
                console.print(_plain(line), soft_wrap=True)
    steps = next_steps(survey)
    if steps:
        console.print("\nWhat to do next")
    for number, step in enumerate(steps, start=1):
        console.print(Text(f"{number}. {step.title}: {printable(step.text, 2000)}"))
        for line in step.snippet.splitlines():
            console.print(Text(f"     {printable(line)}"), soft_wrap=True)


def _plain(text: str) -> Text:
    return Text(printable(text, 400))
