"""
The log of a process: JSON, one bounded line per event, whoever has something to say.
"""

import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc

from io import BytesIO

from webhook.process.logs import LineWriter
from webhook.text import clean


def lines_of(program):
    done = subprocess.run(
        [sys.executable, "-c", f"from webhook.process.logs import setup_logging\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "" == done.stderr

    return done.stdout.splitlines()


def test_what_libraries_log_is_json_too():
    """
    Python's own logging, which writes to standard error by default, ends in the same stream.
    """
    (line,) = lines_of(
        "setup_logging()\n"
        "import logging\n"
        "try:\n"
        "    raise ValueError('x' * 100_000)\n"
        "except ValueError:\n"
        "    logging.getLogger('asyncio').exception('a%s', 'b' * 100_000)\n"
    )
    found = json.loads(line)

    assert ("asyncio", "error", "ValueError") == (found["logger"], found["level"], found["error"])
    assert "Traceback" in found["exception"] or "xxx" in found["exception"]
    assert len(line) < 8_000


def test_broken_requests_are_no_errors_of_ours():
    """
    What a client sends wrongly is told in one short line, without a traceback.
    """
    (line,) = lines_of(
        "setup_logging()\n"
        "import logging\n"
        "from aiohttp.http_exceptions import BadHttpMessage\n"
        "try:\n"
        "    raise BadHttpMessage('y' * 100_000)\n"
        "except BadHttpMessage:\n"
        "    logging.getLogger('aiohttp.server').exception('Error handling request')\n"
    )
    found = json.loads(line)

    assert "info" == found["level"]
    assert "exception" not in found
    assert len(line) < 1_000


def test_what_nobody_reads_is_dropped_and_counted():
    """
    Writing to a full pipe returns at once; once it is read, the log says how many lines were lost.
    """
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, os.fdopen(reading, "rb") as log:
        writer = LineWriter(pipe)
        for number in range(15_000):
            writer.msg(event="x" * 100, number=number, timestamp=time.time())
        written = lost = 0
        while written + lost < 15_000:
            line = json.loads(log.readline())
            lost += line.get("lines", 0)
            written += "number" in line

        assert lost > 0
        assert 15_000 == written + lost


def test_a_line_that_cannot_be_written_takes_no_other_with_it():
    """
    An event that is no JSON becomes a line that says so; those around it are written.
    """
    lines = lines_of(
        "import structlog\n"
        "setup_logging()\n"
        "log = structlog.get_logger()\n"
        "log.info('before')\n"
        "log.info('half', name='\\ud800')\n"
        "log.info('after')\n"
    )

    assert ["before", "unwritable log line", "after"] == [
        json.loads(line)["event"] for line in lines
    ]


def test_no_control_character_gets_through():
    """
    What a Pod's author wrote can't move a terminal's cursor or turn the direction of its text.
    """
    text = "".join(map(chr, range(0x20))) + "\x7f\x80\x9b\u2028\u202e\N{GRINNING FACE}"
    (line,) = lines_of(
        f"import structlog\nsetup_logging()\nstructlog.get_logger().info('x', text={text!r})\n"
    )

    assert line.isascii()
    assert line.isprintable()
    assert text == json.loads(line)["text"]


class Unreliable(BytesIO):
    """
    A stream that fails at its first write, as if memory had run out.
    """

    failed = False

    def write(self, data):
        if not self.failed:
            self.failed = True
            raise MemoryError
        return super().write(data)


def test_no_failure_ends_the_log():
    """
    Whatever goes wrong in the writer's thread, it writes the next lines, and says what was lost.
    """
    stream = Unreliable()
    writer = LineWriter(stream)
    for name in ("first", "second"):
        writer.msg(event=name, timestamp=time.time())
        writer.flush()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert ["second", "log lines lost"] == [event["event"] for event in events]
    assert 1 == events[1]["lines"]


def test_flush_returns_when_all_is_written():
    """
    The last line before the end is never left behind, whenever it comes.
    """
    stream = BytesIO()
    writer = LineWriter(stream)
    for number in range(10):
        time.sleep(0.001 * (number % 5))
        writer.msg(event=f"event {number}", timestamp=time.time())
        writer.flush()

        assert number + 1 == len(stream.getvalue().splitlines())


class Blocked(BytesIO):
    """
    A stream that takes nothing until it is told to.
    """

    def __init__(self):
        super().__init__()
        self.opened = threading.Event()

    def write(self, data):
        self.opened.wait(60)
        return super().write(data)


def test_a_full_queue_of_the_worst_events_fits_into_memory():
    """
    While nobody reads the log, what waits stays far below the memory that a container has.
    """
    stream = Blocked()
    writer = LineWriter(stream)
    worst = "\N{GRINNING FACE}" * 300
    tracemalloc.start()
    try:
        for _ in range(4_200):
            images = [{"name": clean(worst), "image": clean(worst)} for _ in range(20)]
            writer.msg(event="review", images=images, timestamp=time.time())
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        stream.opened.set()
    writer.flush(60)

    assert b"log lines lost" in stream.getvalue()
    assert size < 96_000_000
