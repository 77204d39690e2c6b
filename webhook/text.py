"""
Text and timestamps as people read them.

The API server accepts any image string: newlines, ANSI escapes, bidirectional overrides, and a
megabyte of them; what answers in Harbor's place may say anything, too.
"""

from datetime import UTC, datetime
from typing import Any, Final


__all__ = ["clean", "printable", "read_timestamp", "timestamp"]

_LIMIT: Final = 300
_LOG_LIMIT: Final = 256
_FOREIGN_LOG_LIMIT: Final = 64


def printable(text: str, limit: int = _LIMIT) -> str:
    r"""
    Return *text* with every character that does not print written as an escape such as ``\x1b``.

    What is longer than *limit* characters is cut, and says so with an ellipsis.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _escape(character) for character in text
    )


def clean(text: str) -> str:
    """
    Cut a string that comes from a Pod to what a log line can bear, and escape what does not print.

    What is not ASCII takes four times the memory, and more of a line, so it is cut shorter.
    """
    return printable(text, _LOG_LIMIT if text.isascii() else _FOREIGN_LOG_LIMIT)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def timestamp(moment: datetime, timespec: str = "seconds") -> str:
    """
    Return *moment*, which knows its time zone, in UTC as RFC 3339 writes it and Kubernetes does.

    *timespec* is that of `datetime.isoformat`: how fine it is.
    """
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def read_timestamp(text: Any) -> datetime:
    """
    Return the moment that *text* names, in UTC; one without a time zone is taken as UTC.

    Raises:
        ValueError: if it is no timestamp, or one that UTC can't express.
    """
    if not isinstance(text, str):
        raise ValueError("a timestamp is text")  # noqa: TRY004 - the same to whoever reads a file.
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a timestamp outside of the years 1 to 9999") from error
