"""
Points in time as they stand in files that people may edit.
"""

from datetime import UTC, datetime
from typing import Any

from webhook.errors import QuarantineError


__all__ = ["read_time", "write_time"]


def read_time(text: Any) -> datetime:
    """
    Return the time that *text* names, in UTC.

    Raises:
        QuarantineError: if it is none, has no time zone, or lies outside of what can be reckoned
            with.
    """
    if not isinstance(text, str):
        raise QuarantineError("has no time")
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise QuarantineError(f"has a time without time zone: {text[:40]}")
        return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise QuarantineError(f"has a time that can't be used: {text[:40]}") from error


def write_time(time: datetime) -> str:
    """
    Return *time* to the second, in UTC.
    """
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
