"""
What the demo plays with: a webhook process of its own, and a stand-in for Harbor.
"""

import asyncio
import ssl
import sys
import time

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import aiohttp

from certs.issue import issue_into
from webhook.demo.cluster import free_port
from webhook.demo.program import Program
from webhook.demo.samples import HARBOR
from webhook.demo.standin import HarborStandIn
from webhook.errors import HarborCacheError


__all__ = ["DemoError", "Stage", "open_stage", "until_ready"]

# Quick probes: the demo should not last for minutes.  The defaults are 5 s and 2 s.
_CONFIG: Final = """\
apiVersion: harbor-cache.io/v1
kind: Config
harbor:
  url: https://{host}
  apiUrl: {api_url}
probe: {{interval: 1s, timeout: 1s, failureThreshold: 2, successThreshold: 2, maxAge: 10s}}
images: {{volumes: true, ephemeralContainers: true}}
recovery: {{afterUnavailable: 1s, rescueAfter: 1s}}
"""
_START_WITHIN: Final = 15.0


class DemoError(HarborCacheError):
    """
    The demo could not be set up, or did not show what it promised.
    """


@dataclass(frozen=True, slots=True)
class Stage:
    """
    All that runs.

    Attributes:
        harbor: the stand-in.
        config: the config file.
        url: where the webhook answers.
        trust: a context that trusts the webhook's certificate, and no other.
        authority: the certificate of its authority, PEM.
        webhook: the webhook's process.
        seconds_to_ready: from the start of the process until it was ready.
    """

    harbor: HarborStandIn
    config: Path
    url: str
    trust: ssl.SSLContext
    authority: bytes
    webhook: Program
    seconds_to_ready: float


@asynccontextmanager
async def open_stage(directory: Path) -> AsyncIterator[Stage]:
    """
    Start everything in *directory*, and stop it at the end whatever happens.

    Raises:
        DemoError: if the webhook does not become ready.
    """
    port, ops_port = free_port(), free_port()
    issue_into(
        directory,
        ["localhost"],
        [ip_address("127.0.0.1")],
        lifetime=timedelta(days=1),
        now=datetime.now(UTC),
    )
    async with HarborStandIn(strict=False) as harbor:
        config = directory / "config.yaml"
        config.write_text(_CONFIG.format(host=HARBOR, api_url=harbor.url), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "webhook",
            "serve",
            f"--config={config}",
            f"--tls-cert={directory / 'tls.crt'}",
            f"--tls-key={directory / 'tls.key'}",
            "--host=127.0.0.1",
            f"--port={port}",
            f"--ops-port={ops_port}",
            "--drain-seconds=0",
        ]
        with Program(command, log=directory / "webhook.log") as program:
            started = time.monotonic()
            await until_ready(program, f"http://127.0.0.1:{ops_port}/readyz")
            yield Stage(
                harbor=harbor,
                config=config,
                url=f"https://127.0.0.1:{port}",
                trust=ssl.create_default_context(cafile=str(directory / "ca.crt")),
                authority=(directory / "ca.crt").read_bytes(),
                webhook=program,
                seconds_to_ready=time.monotonic() - started,
            )


async def until_ready(program: Program, url: str) -> None:
    """
    Return when *program* answers at *url* that it is ready.

    Raises:
        DemoError: if it does not within 15 s.
    """
    async with aiohttp.ClientSession() as session:
        deadline = time.monotonic() + _START_WITHIN
        while time.monotonic() < deadline:
            program.check()
            try:
                async with session.get(url) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)
    raise DemoError(f"{url}: not ready after {_START_WITHIN:.0f} s\n{program.log_end()}")
