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

from aiohttp import web

from certs.source import FileSource
from webhook.config import Config, load_config
from webhook.process.metrics import WebhookMetrics
from webhook.process.ops_routes import ops_app
from webhook.server.connections import keep_tls_buffers_small
from webhook.server.inputs import Inputs
from webhook.server.routes import Service, business_app


__all__ = ["Options", "serve"]

KEEPALIVE_SECONDS: Final = 180.0
"""
How long an idle connection stays open.  It must be well above the API server's own 90 s: whoever
closes first while the other side writes loses that review.
"""

# The longest that a TLS handshake or goodbye may take; the API server gives a handshake as much.
_TLS_SECONDS: Final = 10.0

# What is read ahead of a connection whose body has to wait for its turn, is twice this.
_READ_BYTES: Final = 16 * 1024

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
        quarantine: the file with images that are left alone, if there is one.
        drain_seconds: how long reviews are still answered after SIGTERM.
    """

    config: Path
    tls_cert: Path
    tls_key: Path
    host: str = "0.0.0.0"  # noqa: S104 - a Pod listens for its Service.
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
        self._service = Service(self._inputs, metrics)

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
            async with self._listening() as listener:
                # What keeps the inputs goes on for ever; if it breaks, the process begins anew.
                await asyncio.wait([inputs, stopped], return_when=asyncio.FIRST_COMPLETED)
                if inputs.done():
                    inputs.result()
                await self._drain(listener)
        finally:
            for task in (inputs, stopped):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await inputs
            _log.info("stopped")

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[asyncio.Server]:
        """
        Serve on both ports for as long as the context lasts; it gives the business port's listener.
        """
        options, service = self._options, self._service
        business = _runner(business_app(service))
        ops = _runner(
            ops_app(service.metrics.registry, unready=self._unready, status=self._inputs.status)
        )
        try:
            await ops.setup()
            await business.setup()
            await web.TCPSite(ops, options.host, options.ops_port).start()
            keep_tls_buffers_small()
            listener = await asyncio.get_running_loop().create_server(
                service.connections.factory(_server(business)),
                options.host,
                options.port,
                ssl=self._certificate.context,
                ssl_handshake_timeout=_TLS_SECONDS,
                ssl_shutdown_timeout=_TLS_SECONDS,
                backlog=1024,
            )
            gc.freeze()  # What is loaded by now stays; don't look through it again and again.
            _log.info(
                "listening",
                host=options.host,
                port=listener.sockets[0].getsockname()[1],
                ops_port=ops.addresses[0][1],
            )
            yield listener
        finally:
            await business.cleanup()
            await ops.cleanup()

    async def _drain(self, listener: asyncio.Server) -> None:
        """
        Stay for the requests that still come, telling each to go elsewhere next time.

        The API server goes on using its connections to a Pod that is being deleted, and does not
        repeat a POST that met a closed one.
        """
        self._service.draining = True
        _log.info("draining", seconds=self._options.drain_seconds)
        await asyncio.sleep(self._options.drain_seconds)
        listener.close()

    def _unready(self) -> str:
        return "shutting down" if self._service.draining else self._inputs.unready()


async def serve(options: Options) -> None:
    """
    Run the webhook until it is told to stop.

    Raises:
        ConfigError: if the config file can't be used at the start.
        OSError: if a port can't be listened on.
    """
    await Server(options, load_config(options.config)).run()


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        read_bufsize=_READ_BYTES,
        shutdown_timeout=5.0,
    )


def _server(runner: web.AppRunner) -> web.Server:
    if runner.server is None:
        raise RuntimeError("the routes are not set up")
    return runner.server
