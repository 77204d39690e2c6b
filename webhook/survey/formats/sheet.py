"""
A survey as CSV: one line per image of a workload.
"""

import csv
import io
import re

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
# What a spreadsheet takes for the beginning of a formula.  It may read the file with semicolons
# or tabs between cells, so that a cell of its own begins behind each of these; and full-width
# forms are as good as the others to some.
_SIGNS: Final = "=+-@|%"
_WIDE_SIGNS: Final = "".join(chr(ord(sign) + 0xFEE0) for sign in _SIGNS)
_FORMULA: Final = re.compile(rf"(^|[,;\t])(?=[\s\"']*[{re.escape(_SIGNS + _WIDE_SIGNS)}])")


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
    return _FORMULA.sub(r"\1'", printable(cell, _LIMIT))
