"""
The composition root of `harbor-cache serve`: where the parts of the webhook meet.

Three things run beside the routes, and none of them is waited for by a review: the monitor probes
Harbor, the watch re-reads the mounted files, and the log is written by a thread.
"""

import asyncio
import gc
import signal

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from certs.source import FileSource
from webhook.config import Config, load_config
from webhook.process.bounded_port import BoundedPort, Limits
from webhook.process.listening import EVERYWHERE, bind, raise_file_limit
from webhook.process.metrics import WebhookMetrics
from webhook.process.ops_routes import OPS_LIMITS, ops_handler
from webhook.server.inputs import Inputs
from webhook.server.routes import Reviews


__all__ = ["Options", "serve"]

KEEPALIVE_SECONDS: Final = 180.0
"""
How long an idle connection stays open.  It must be well above the API server's own 90 s: whoever
closes first while the other side writes loses that review.
"""

MAX_CONNECTIONS: Final = 1024
"""
How many may be open at once.  Each takes about 100 KiB; an API server keeps at most 25 idle ones.
"""

_OTHER_FILES: Final = 64
_SHUTDOWN_SECONDS: Final = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Options:
    """
    What the command line says.

    Attributes:
        config: the config file.
        tls_cert: the serving certificate with its chain, PEM.
        tls_key: its key, PEM.
        host: the address to listen on.
        port: the port for reviews; 0 takes a free one.
        ops_port: the port for health and metrics; 0 takes a free one.
        quarantine: the file with images that are quarantined, if there is one.
        drain_seconds: how long reviews are still answered after SIGTERM.
    """

    config: Path
    tls_cert: Path
    tls_key: Path
    host: str = EVERYWHERE
    port: int = 10250
    ops_port: int = 8080
    quarantine: Path | None = None
    drain_seconds: float = 15.0


class Server:
    """
    A running webhook.
    """

    def __init__(self, options: Options, config: Config) -> None:
        metrics = WebhookMetrics()
        self._options = options
        self._certificate = FileSource(options.tls_cert, options.tls_key)
        self._inputs = Inputs(
            config,
            metrics,
            config_file=options.config,
            certificate=self._certificate,
            quarantine_file=options.quarantine,
        )
        self._reviews = Reviews(self._inputs, metrics)

    async def run(self) -> None:
        """
        Serve until SIGTERM or SIGINT, then drain.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self._inputs.look()
        inputs = asyncio.create_task(self._inputs.run())
        stopped = asyncio.create_task(stop.wait())
        try:
            async with self._listening() as business:
                # What keeps the inputs goes on for ever; if it breaks, the process begins anew.
                await asyncio.wait([inputs, stopped], return_when=asyncio.FIRST_COMPLETED)
                if inputs.done():
                    inputs.result()
                await self._drain(business)
        finally:
            for task in (inputs, stopped):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await inputs
            _log.info("stopped")

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[BoundedPort]:
        """
        Serve on both ports for as long as the context lasts; it gives the one for reviews.
        """
        options = self._options
        files = raise_file_limit() - OPS_LIMITS.connections - _OTHER_FILES
        limits = Limits(connections=min(MAX_CONNECTIONS, files), idle_seconds=KEEPALIVE_SECONDS)
        business = BoundedPort(self._reviews.handle, limits, tls=self._certificate.context)
        registry = self._reviews.metrics.registry
        status = ops_handler(registry, unready=self._unready, status=self._inputs.status)
        ops = BoundedPort(status, OPS_LIMITS)
        try:
            ops.open(bind(options.host, options.ops_port))
            business.open(bind(options.host, options.port))
            gc.freeze()  # What is loaded by now stays; don't look through it again and again.
            _log.info("listening", host=options.host, port=business.port, ops_port=ops.port)
            yield business
        finally:
            await business.close(_SHUTDOWN_SECONDS)
            await ops.close(_SHUTDOWN_SECONDS)

    async def _drain(self, business: BoundedPort) -> None:
        """
        Stay for the requests that still come, telling each to go elsewhere next time.

        The API server goes on using its connections to a Pod that is being deleted, and does not
        repeat a POST that met a closed one.
        """
        self._reviews.draining = True
        _log.info("draining", seconds=self._options.drain_seconds)
        await asyncio.sleep(self._options.drain_seconds)
        business.stop_accepting()

    def _unready(self) -> str:
        return "shutting down" if self._reviews.draining else self._inputs.unready()


async def serve(options: Options) -> None:
    """
    Run the webhook until it is told to stop.

    Raises:
        ConfigError: if the config file can't be used at the start.
        HarborCacheError: if a port can't be listened on.
    """
    await Server(options, load_config(options.config)).run()
