"""
Text that comes from a cluster, made fit for a terminal.

The API server accepts any image string: newlines, ANSI escapes, bidirectional overrides, and a
megabyte of them.
"""

from typing import Final


__all__ = ["printable"]

_LIMIT: Final = 300


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


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
