"""
Logs: one JSON object per line on standard output, written by a thread of its own.

A full pipe must never hold up an admission review.  So lines wait in a bounded queue, and are
dropped and counted when whoever reads them falls behind.  What libraries say through Python's own
`logging` (asyncio of failed handshakes, aiohttp of broken requests) takes the same way: its default
is to write to standard error there and then.
"""

import atexit
import logging
import os
import sys
import threading
import time
import traceback

from collections import deque
from typing import BinaryIO, Final

import structlog

from aiohttp.http_exceptions import HttpProcessingError
from pydantic_core import to_json


__all__ = ["LineWriter", "clean", "setup_logging"]

_MAX_LINES: Final = 10_000
# Lines are written in batches: a thread that woke up for each would take the interpreter away from
# reviews, which costs them more than all the rest.
_BATCH_SECONDS: Final = 0.02
_MAX_TEXT: Final = 256
_MAX_TRACEBACK: Final = 4096


class LineWriter:
    """
    Takes lines without ever blocking, and writes them from a thread.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self.dropped = 0
        threading.Thread(target=self._write_forever, name="log-writer", daemon=True).start()

    def msg(self, message: str) -> None:
        """
        Take one line; drop it if too many wait already.
        """
        if len(self._lines) >= _MAX_LINES:
            self.dropped += 1
            return
        self._lines.append(message.encode("utf-8", "backslashreplace") + b"\n")
        if not self._wake.is_set():
            self._idle.clear()
            self._wake.set()

    debug = info = warning = error = critical = exception = log = msg

    def flush(self, seconds: float = 2.0) -> None:
        """
        Wait until all lines are written, for so many seconds at the most.
        """
        self._idle.wait(seconds)

    def _write_forever(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_BATCH_SECONDS)
            self._wake.clear()
            while self._lines:
                batch = [self._lines.popleft() for _ in range(min(len(self._lines), 500))]
                try:
                    self._stream.write(b"".join(batch))
                    self._stream.flush()
                except (OSError, ValueError):
                    self.dropped += len(batch)  # Nobody reads our log; that is no reason to stop.
            if not self._wake.is_set():
                self._idle.set()


class _FromLibraries(logging.Handler):
    """
    Turns what libraries log into events, cut to what a line can bear.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """
        Log one record; what clients do wrong is no error of ours and has no traceback.
        """
        log = structlog.get_logger()
        error = record.exc_info[1] if record.exc_info else None
        words = {"logger": record.name}
        if error is not None:
            words |= {"error": type(error).__name__, "detail": clean(str(error))}
        if isinstance(error, HttpProcessingError):
            log.info(clean(record.getMessage()), **words)
            return
        if error is not None:
            text = "".join(traceback.format_exception(error, limit=-8))
            words["exception"] = text[-_MAX_TRACEBACK:]
        log.log(record.levelno, clean(record.getMessage()), **words)


def _as_line(event: object, **_: object) -> str:
    """
    Return *event* as JSON in ASCII: no control character and no bidirectional mark gets through.
    """
    return to_json(event, ensure_ascii=True, fallback=str).decode("ascii")


def setup_logging() -> LineWriter:
    """
    Send all events to standard output as JSON, one line each; return the writer behind it.
    """
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    writer = LineWriter(stream)
    atexit.register(writer.flush)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_as_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    return writer


def clean(text: str) -> str:
    """
    Cut a string that comes from a Pod to what a log line can bear.

    Control characters and everything that is not ASCII are escaped by the JSON renderer.
    """
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
