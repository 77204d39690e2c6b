"""
What commands write: documents to standard output, everything else to standard error.
"""

import codecs
import io
import sys

from pathlib import Path
from typing import Any, Final

import click

from webhook.errors import HarborCacheError


__all__ = ["accept_any_encoding", "log_to_stderr", "write_document"]

_ERRORS: Final = "harbor-cache"
_PLAIN: Final = {"→": "->", "…": "...", "\u202f": " "}
"""
What we write ourselves beyond ASCII, for outputs that have no such characters.
"""


def accept_any_encoding() -> None:
    """
    Let standard output and standard error take every character, whatever their encoding.

    What can't be encoded is written in its plain form, or as an escape such as ``\\u2603``.
    """
    codecs.register_error(_ERRORS, _in_plain_words)
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        # What was put in the place of the real one need not know how.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _in_plain_words(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(plain), error.end


def write_document(text: str, file: Path | None = None) -> None:
    """
    Write a document to *file*, or to standard output, in UTF-8 whatever the terminal's encoding.

    Raises:
        HarborCacheError: if the file can't be written.
    """
    if file is None:
        click.echo(text.encode(), nl=False)
        return
    from webhook.process.whole_file import write_whole

    try:
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8")  # A device or a pipe keeps its name.
        else:
            write_whole(file, text)
    except OSError as error:
        raise HarborCacheError(f"{file}: {error.strerror}") from error


def log_to_stderr(level: int) -> None:
    """
    Send what is logged from *level* on to standard error, so that it gets into no document.
    """
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
