"""
Results as tables in Markdown.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final


__all__ = ["BARE", "PARSING", "PRODUCT", "into_docs", "table", "tables"]

PRODUCT: Final = "harbor-cache"
BARE: Final = "bare aiohttp"
PARSING: Final = "bare aiohttp that parses"

# A server that used less of its core waited for the load generator.
_BUSY: Final = 0.85


def tables(results: dict[str, Any]) -> str:
    """
    Return all tables.
    """
    parts = [
        _machine(results),
        *(f"**Warning:** {warning}." for warning in results["warnings"]),
        "## Reviews, as fast as they go",
        _throughput(results),
        "## At a fixed rate (open loop, 500 typical reviews a second)",
        table(
            ("", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "errors"),
            (
                (name, *_ms(run, "p50", "p99", "p999", "longest"), str(run["errors"]))
                for name, run in results["open loop"].items()
            ),
        ),
        "## Through a real API server (typical Pod, dry run, one at a time)",
        _creations(results["creations"]),
        "## Memory and start",
        _memory(results),
        "## Growth (decision alone, one process)",
        *(_growth(what, rows) for what, rows in results["growth"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def into_docs(path: Path, text: str, *, by: str = "make bench") -> None:
    """
    Put *text* between the markers of the page at *path* that name the command *by*.
    """
    begin, end = f"<!-- Made by `{by}`. -->", f"<!-- End of what `{by}` makes. -->"
    page = path.read_text(encoding="utf-8")
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    path.write_text(f"{head}{begin}\n\n{text}\n{end}{tail}", encoding="utf-8")


def _machine(results: dict[str, Any]) -> str:
    facts = "; ".join(f"{key}: {value}" for key, value in results["machine"].items())
    return f"Measured on {results['date']} with {results['tool']}. {facts}."


def _throughput(results: dict[str, Any]) -> str:
    base = results["base"]
    rows = []
    for each in results["throughput"]:
        shapes = f"{each['shapes']:,} shapes" if each["shapes"] else "never twice"
        size = results["bytes"][each["review"]]
        for name, run in each["runs"].items():
            rows.append(
                (
                    f"{each['review']}, {shapes} ({size:,} bytes)",
                    name,
                    f"{run['rate']:,.0f}{'' if run['busy'] > _BUSY else ' (not all it can)'}",
                    *(f"{run['share'][other]:.2f}" for other in (BARE, base) if other),
                    *_ms(run, "p50", "p99", "p999"),
                    f"{run['cpu']:.3f}",
                    str(run["errors"]),
                )
            )
    return table(
        (
            *("review", "server", "reviews/s", "of bare"),
            *([f"of {base.rpartition(' ')[2]}"] if base else []),
            *("p50 ms", "p99 ms", "p99.9 ms", "CPU s per 1,000", "errors"),
        ),
        rows,
    )


def _creations(runs: dict[str, dict[str, float]]) -> str:
    plain = runs["no webhook"]["p50"]
    return table(
        ("", "p50 ms", "added p50 ms", "p99 ms", "p99.9 ms", "images rewritten (of 3)"),
        (
            (
                name,
                f"{run['p50']:.2f}",
                f"{run['p50'] - plain:.2f}",
                *_ms(run, "p99", "p999"),
                f"{run['rewritten']:g}",
            )
            for name, run in runs.items()
        ),
    )


def _memory(results: dict[str, Any]) -> str:
    used = results["memory"]
    return table(
        ("start to ready", "memory at start", f"after {used['reviews']:,} reviews", "peak"),
        [
            (
                f"{results['ready']:.2f} s",
                f"{used['at start']:.1f} MiB",
                f"{used['now']:.1f} MiB",
                f"{used['peak']:.1f} MiB",
            )
        ],
    )


def _growth(what: str, rows: list[dict[str, float]]) -> str:
    return table(
        (what, "µs per review", "µs per image"),
        ((f"{row['size']:,}", f"{row['review']:.0f}", f"{row['image']:.1f}") for row in rows),
    )


def _ms(run: dict[str, float], *names: str) -> tuple[str, ...]:
    return tuple(f"{run[name]:.2f}" for name in names)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Return one table.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
