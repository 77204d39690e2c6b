"""
The log of a process: JSON, one bounded line per event, whoever has something to say.
"""

import json
import os
import subprocess
import sys
import time

from webhook.logs import LineWriter


def lines_of(program):
    done = subprocess.run(
        [sys.executable, "-c", f"from webhook.logs import setup_logging\n{program}"],
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
