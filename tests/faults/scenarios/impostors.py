"""
What answers in Harbor's place means harm: reviews and memory are compared with a Harbor that is well.
"""

import asyncio
import os
import statistics
import sys
import tempfile

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.faults.scenario import Faults
from tests.faults.stage import Stage
from tests.faults.visitors import visit
from tests.faults.wire import peak_memory
from tests.support.kube.webhook import WebhookProcess, configuration


__all__ = ["FAULTS"]

FAULTS: Final = Faults()

_MEMORY: Final = 128
_TURNS: Final = 3
_VISITORS: Final = 150

_KINDS: Final = {
    "Harbor's place answers with objects without end": "objects",
    "Harbor's place answers 100 Continue without end": "interim",
    "Harbor's place answers a byte at a time": "drip",
    "Harbor's place answers with headers without end": "headers",
}

# A name server that takes its time, for names that end so.
_SILENT: Final = """\
import socket, time
ask = socket.getaddrinfo
def getaddrinfo(host, *others, **words):
    if str(host).endswith(".silent"):
        time.sleep(60)
    return ask(host, *others, **words)
socket.getaddrinfo = getaddrinfo
"""


@asynccontextmanager
async def _impostor(kind: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.impostor", kind),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _webhook(stage: Stage, directory: Path, url: str) -> AsyncIterator[WebhookProcess]:
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(_SILENT)
    environment = {**os.environ, "PYTHONPATH": f"{directory}:{Path.cwd()}"}
    webhook = WebhookProcess(
        directory, configuration(url), stage.authority, environment=environment
    )
    try:
        await asyncio.to_thread(webhook.start)
        yield webhook
    finally:
        await asyncio.to_thread(webhook.program.kill)


async def _compare(stage: Stage, url: str) -> str:
    """
    Say how reviews fare with the impostor at *url*, by turns with a Harbor that is well.
    """
    found: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with (
            _webhook(stage, directory / "without", stage.harbor.url) as well,
            _webhook(stage, directory / "with", url) as harmed,
        ):
            for _ in range(_TURNS):
                for kind, each in (("without", well), ("with", harmed)):
                    seen = await visit(each.port, each.ops_port, _VISITORS)
                    found[kind].append(seen["p99"] * 1000)
            memory = peak_memory(harmed.program.pid)
    p99 = {kind: statistics.median(each) for kind, each in found.items()}
    said = (
        f"p99 of reviews {p99['with']:.0f} ms, {p99['without']:.0f} ms without;"
        f" peak memory {memory:.0f} MiB"
    )
    if p99["with"] > 2 * p99["without"] or memory >= _MEMORY:
        raise AssertionError(said)
    return said


def _named(name: str, kind: str) -> None:
    @FAULTS.named(name)
    async def _(stage: Stage) -> str:
        async with _impostor(kind) as url:
            return await _compare(stage, url)


for _name, _kind in _KINDS.items():
    _named(_name, _kind)


@FAULTS.named("Harbor's name is looked up without an answer")
async def _silence(stage: Stage) -> str:
    return await _compare(stage, "http://harbor.silent:9")
