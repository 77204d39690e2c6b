"""
A survey as tables for a terminal.

What is to be looked at stands in the first column, and first; colours only repeat what words say.
"""

import io

from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from webhook.image.decision import Reason
from webhook.survey import ClusterImage, NamespaceReport, RegistryReport, Survey
from webhook.survey.explanation import REASONS
from webhook.survey.formats.advice import is_public, next_steps
from webhook.survey.formats.figures import GOOD, LOOK, WRONG, color_of, headline
from webhook.survey.formats.rows import rows
from webhook.text import printable


__all__ = ["as_table"]

_UNFOLDED: Final = 100_000
_WRONG: Final = f"bold {WRONG}"
_MODES: Final = {"enforce": GOOD, "audit": "cyan", "unknown": _WRONG, "excluded": LOOK}
_NARROW: Final = frozenset({"look at", "mode"})
"""
Columns of a few words of our own, which are not folded.
"""
_STATES: Final = {"available": GOOD, "accepted": GOOD, "refused": _WRONG, "inconclusive": LOOK}


def as_table(survey: Survey, width: int | None = None, *, color: bool = False) -> str:
    """
    Return *survey* for a terminal of *width* columns; nothing in it can act on the terminal.

    Where the environment has NO_COLOR there is none, whatever *color* says.
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
    console.print(Text(headline(survey).replace("\u202f", " "), "bold"))
    console.print(
        f"{pods.total} Pods of {len(survey.workloads)} workloads in "
        f"{len(survey.namespaces)} namespaces of {_plain(survey.title)}"
    )
    console.print(
        f"{survey.would_rewrite} of {survey.uses} image uses would be pulled through "
        f"{survey.harbor}; Pods now: {pods.cached} on Harbor, {pods.direct} direct, "
        f"{pods.restored} restored"
    )
    if survey.installed is False:
        console.print("harbor-cache-webhook is not installed in this cluster", style=LOOK)
    if survey.placeholder:
        console.print(
            f"{survey.harbor} is a placeholder: {_plain(survey.placeholder)}", style=_WRONG
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
            no_wrap=right or column in _NARROW,
            overflow="fold",
        )
    return table


def _looked(look: str) -> Text:
    return Text(look, LOOK)


def _first(looks: Iterable[tuple[str, list[Text | str]]]) -> Iterable[list[Text | str]]:
    """
    Yield rows with what to look at in front; those that have it come first.
    """
    for look, cells in sorted(looks, key=lambda row: not row[0]):
        yield [_looked(look), *cells]


def _numbers(*values: int) -> list[Text | str]:
    return [str(value) for value in values]


def _registries(survey: Survey) -> Table:
    table = _table(
        "Registries",
        *("look at", "registry", "project", "uses", "on Harbor", "could be", "pulls"),
        numbers=4,
    )
    for cells in _first(
        (
            _look_of_registry(r, survey),
            [
                _plain(r.registry),
                r.project or "no rule",
                *_numbers(r.uses, r.on_harbor, r.could_be, r.pulls),
            ],
        )
        for r in survey.registries
    ):
        table.add_row(*cells)
    return table


def _look_of_registry(registry: RegistryReport, survey: Survey) -> str:
    if registry.project is None:
        return "no rule" if is_public(registry.registry, survey.harbor) else ""
    limited = registry.rate_limited and registry.on_harbor < registry.could_be
    return "rate limit" if limited else ""


def _reasons(survey: Survey) -> Table:
    table = _table("Why", "reason", "in words", "uses", numbers=1)
    for name, count in survey.reasons.items():
        reason = Reason(name)
        table.add_row(Text(name, color_of(reason)), REASONS[reason], str(count))
    return table


def _namespaces(survey: Survey) -> Table:
    table = _table(
        "Namespaces",
        *("look at", "namespace", "mode", "note", "uses", "on Harbor", "could be"),
        numbers=3,
    )
    for cells in _first(
        (
            _look_of_namespace(n),
            [
                _plain(n.name),
                Text(
                    n.mode if n.mode != "unknown" else f"unknown ({printable(n.label or '', 40)})",
                    _MODES.get(n.mode, ""),
                ),
                n.why,
                *_numbers(n.would_rewrite + n.kept, n.on_harbor, n.could_be),
            ],
        )
        for n in survey.namespaces
    ):
        table.add_row(*cells)
    return table


def _look_of_namespace(namespace: NamespaceReport) -> str:
    if namespace.mode in ("unknown", "excluded"):
        return "its label"
    return f"{namespace.pods.restored} restored" if namespace.pods.restored else ""


def _workloads(survey: Survey) -> Table:
    table = _table(
        "Workloads",
        *("look at", "namespace", "workload", "image", "outcome", "on Harbor"),
        numbers=1,
    )
    for cells in _first(
        (
            row.look,
            [
                _plain(row.workload.namespace),
                _plain(
                    f"{row.workload.kind.lower()}/{row.name}"
                    + (f" ({len(row.names)} alike)" if len(row.names) > 1 else "")
                ),
                _plain(row.image.image),
                Text(_outcome(row.image), color_of(row.image.reason)),
                f"{row.on_harbor} of {row.uses}",
            ],
        )
        for row in rows(survey)
    ):
        table.add_row(*cells)
    return table


def _outcome(image: ClusterImage) -> str:
    # A rewrite has one reason; what is kept has many.
    return f"kept ({image.reason})" if image.outcome == "kept" else image.outcome


def _extras(console: Console, survey: Survey) -> None:
    for title, lines in (
        (
            "Harbor",
            [
                (f"{p.name}: {p.state} {p.why}", _STATES.get(p.state, _WRONG))
                for p in survey.probes or ()
            ],
        ),
        (
            "Preflight",
            [
                (
                    f"{r.namespace}: {r.outcome} {r.policy or ''} {r.message}",
                    _STATES[r.outcome],
                )
                for r in survey.preflight or ()
            ],
        ),
        (
            "Nodes",
            [
                (
                    f"{n.node}: pulls images {_at_a_time(n.at_once)}",
                    LOOK if n.at_once == 1 else "",
                )
                for n in survey.nodes or ()
            ],
        ),
        ("Not seen", [(f"{u.what}: {u.why}", LOOK) for u in survey.unseen]),
    ):
        if lines:
            console.print(Text(f"\n{title}", "bold"))
            for line, style in lines:
                console.print(Text(printable(line.rstrip(), 400), style), soft_wrap=True)
    steps = next_steps(survey)
    if steps:
        console.print(Text("\nWhat to do next", "bold"))
    for number, step in enumerate(steps, start=1):
        console.print(
            Text(f"{number}. {step.title}: ", "bold").append(
                printable(step.text, 2000), "not bold"
            )
        )
        for line in step.snippet.splitlines():
            console.print(Text(f"     {printable(line)}"), soft_wrap=True)


def _at_a_time(at_once: int | None) -> str:
    if at_once is None:
        return "without a limit"
    return "one at a time" if at_once == 1 else f"{at_once} at a time"


def _plain(text: str) -> Text:
    return Text(printable(text, 400))
