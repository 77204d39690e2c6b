"""
A survey as CSV: one line per image of a workload.
"""

import csv
import io

from typing import Final

from webhook.survey import Survey
from webhook.text import printable


__all__ = ["as_csv"]

_COLUMNS: Final = (
    *("namespace", "mode", "kind", "workload", "image", "registry", "outcome", "reason"),
    *("result", "containers", "cached", "direct", "restored", "every_start", "digest"),
    "pull_secrets",
)
_LIMIT: Final = 4096
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "|", "%")


def as_csv(survey: Survey) -> str:
    """
    Return *survey* as CSV (RFC 4180), in which no cell is a formula.
    """
    modes = {namespace.name: namespace.mode for namespace in survey.namespaces}
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(_COLUMNS)
    for workload in survey.workloads:
        for image in workload.images:
            row = (
                workload.namespace,
                modes.get(workload.namespace, "none"),
                workload.kind,
                workload.name,
                image.image,
                image.registry,
                image.outcome,
                str(image.reason),
                image.result,
                " ".join(image.containers),
                str(image.running.cached),
                str(image.running.direct),
                str(image.running.restored),
                "yes" if image.every_start else "no",
                "yes" if image.digest else "no",
                " ".join(workload.pull_secrets),
            )
            writer.writerow(_harmless(cell) for cell in row)
    return output.getvalue()


def _harmless(cell: str) -> str:
    text = printable(cell, _LIMIT)
    return f"'{text}" if text.startswith(_FORMULA) else text
