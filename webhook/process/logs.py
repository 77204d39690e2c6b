"""
Logs: one JSON object per line on standard output, written by a thread of its own.

A full pipe must never hold up an admission review.  So events wait in a bounded queue, and are
dropped and counted when whoever reads them falls behind; the log itself says how many were.  What
libraries say through Python's own `logging` (asyncio of failed handshakes, aiohttp of broken
requests) takes the same way: its default is to write to standard error there and then.
"""

import atexit
import logging
import os
import sys
import threading
import time
import traceback

from collections import deque
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import structlog

from aiohttp.http_exceptions import HttpProcessingError
from pydantic_core import to_json

from webhook.text import clean, timestamp


__all__ = ["LineWriter", "setup_logging"]

# At its worst an event takes 14 kB: all of them together stay far below a container's memory.
_MAX_EVENTS: Final = 4_000
# Events become lines in batches: a thread that woke up for each would take the interpreter away
# from reviews, which costs them more than all the rest, and one by one each costs three times as
# much, since the processor's caches have seen other code in the meantime.
_BATCH_SECONDS: Final = 0.02
_BATCH_EVENTS: Final = 100
_FLUSH_POLL_SECONDS: Final = 0.002
_MAX_TRACEBACK: Final = 4096


class LineWriter:
    """
    Takes events without ever blocking, and writes each as a line from a thread.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._events: deque[dict[str, Any]] = deque()
        self._wake = threading.Event()
        self._writing = False
        self._dropped = 0
        threading.Thread(target=self._write_forever, name="log-writer", daemon=True).start()

    def msg(self, **event: Any) -> None:
        """
        Take one event; drop it if too many wait already.
        """
        if len(self._events) >= _MAX_EVENTS:
            self._dropped += 1
            return
        self._events.append(event)
        if not self._wake.is_set():
            self._wake.set()

    debug = info = warning = error = critical = exception = log = msg

    def flush(self, seconds: float = 2.0) -> None:
        """
        Wait until all events are written, for so many seconds at the most.
        """
        deadline = time.monotonic() + seconds
        # In this order: what waits no longer is being written, until that is done.
        while (self._events or self._writing) and time.monotonic() < deadline:
            time.sleep(_FLUSH_POLL_SECONDS)

    def _write_forever(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_BATCH_SECONDS)
            self._wake.clear()
            while self._events:
                self._writing = True
                self._write_batch()
                self._writing = False

    def _write_batch(self) -> None:
        number = min(len(self._events), _BATCH_EVENTS)
        batch = [self._events.popleft() for _ in range(number)]
        try:
            self._stream.write(b"".join([_line(event) for event in batch]))
            self._stream.flush()
        except Exception:  # noqa: BLE001 - nobody reads our log, say; no reason to stop.
            self._dropped += number
            return
        if self._dropped:
            self._dropped, lost = 0, self._dropped
            words = {"lines": lost, "level": "warning", "timestamp": time.time()}
            self._events.append({"event": "log lines lost", **words})


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


def _line(event: dict[str, Any]) -> bytes:
    """
    Return *event* as JSON in ASCII: no control character and no bidirectional mark gets through.
    """
    try:
        moment = datetime.fromtimestamp(event["timestamp"], UTC)
        event["timestamp"] = timestamp(moment, "microseconds")
        line = to_json(event, ensure_ascii=True, fallback=str) + b"\n"
    except ValueError as error:  # Half a surrogate pair, say; the other lines are not lost by it.
        return to_json({"event": "unwritable log line", "error": type(error).__name__}) + b"\n"
    return line.replace(b"\x7f", b"\\u007f")  # The one control character that JSON lets through.


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
            structlog.processors.TimeStamper(fmt=None),
            structlog.processors.format_exc_info,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    return writer
