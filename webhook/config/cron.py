"""
When something happens in Harbor: six fields, seconds first.

The grammar is that of the Go library robfig/cron, with which Harbor reads them: ``*`` and ``?``,
numbers, names of months and days, ranges, steps and lists.  Harbor takes no seconds but 0.
"""

import re

from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema


__all__ = ["Cron", "check_cron"]

_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("seconds", 0, 0, {}),
    ("minutes", 0, 59, {}),
    ("hours", 0, 23, {}),
    ("days of the month", 1, 31, {}),
    ("months", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("days of the week", 0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_PART: Final = re.compile(
    r"(?:(?P<all>[*?])|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII
)


def check_cron(text: str) -> str:
    """
    Return *text* if Harbor takes it as a schedule.

    Raises:
        ValueError: naming the field that is wrong.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f'must have six fields, such as "0 0 3 * * *" for 3 in the night; {text!r} has'
            f" {len(fields)} (seconds come first)"
        )
    if fields[0] != "0":
        raise ValueError(f"the seconds must be 0, not {fields[0]!r}")
    for field, (what, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            if not _is_valid(part, lowest, highest, names):
                raise ValueError(f"{part!r} is no value for {what} ({lowest} to {highest})")
    return " ".join(fields)


def _is_valid(part: str, lowest: int, highest: int, names: dict[str, int]) -> bool:
    match = _PART.fullmatch(part)
    if match is None or (match["step"] is not None and int(match["step"]) == 0):
        return False
    if match["all"]:
        return True
    first = _number(match["first"], names)
    last = first if match["last"] is None else _number(match["last"], names)
    return first is not None and last is not None and lowest <= first <= last <= highest


def _number(text: str, names: dict[str, int]) -> int | None:
    return int(text) if text.isdigit() else names.get(text.lower())


Cron = Annotated[
    str,
    AfterValidator(check_cron),
    WithJsonSchema({"type": "string", "pattern": r"^\s*0(\s+\S+){5}\s*$"}),
]
