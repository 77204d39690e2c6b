"""
The composition root of `harbor-cache serve`: where the parts of the webhook meet.

Three things run beside the routes, and none of them is waited for by a review: the monitor probes
Harbor, the watch re-reads the mounted files, and the log is written by a thread.
"""

import asyncio
import gc
import signal
import time

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from aiohttp import web

from certs.source import FileSource, Outcome
from webhook.config import Config, load_config
from webhook.errors import ConfigError, HarborCacheError
from webhook.harbor.monitor import Monitor
from webhook.image.availability import Availability
from webhook.image.quarantine import EMPTY, Quarantine
from webhook.pod.decision import Policy
from webhook.process.metrics import WebhookMetrics
from webhook.server.connections import keep_tls_buffers_small
from webhook.server.routes import Service, business_app, ops_app


__all__ = ["Options", "serve"]

KEEPALIVE_SECONDS: Final = 180.0
"""
How long an idle connection stays open.  It must be well above the API server's own 90 s: whoever
closes first while the other side writes loses that review.
"""

FIRST_ROUND_SECONDS: Final = 3.0
"""
How long readiness waits for the first round of probes.
"""

_WATCH_SECONDS: Final = 1.0

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
    Everything that a running webhook knows.
    """

    def __init__(self, options: Options, config: Config) -> None:
        self._options = options
        self._config = config
        self._policy = config.policy
        self._metrics = WebhookMetrics()
        self._monitor = Monitor(config, self._metrics.harbor)
        self._certificate = FileSource(options.tls_cert, options.tls_key)
        self._quarantine: Quarantine = EMPTY
        self._seen: dict[Path, str | None] = {}
        self._known: tuple[Availability, Availability] | None = None
        self._looked = False
        self.service = Service(self, self._metrics)

    @property
    def policy(self) -> Policy:
        """
        Return what the config says about Pods.
        """
        return self._policy

    def availability(self) -> Availability:
        """
        Return what is known of Harbor now, with the quarantine laid over it.
        """
        seen = self._monitor.view()
        if self._known is None or self._known[0] is not seen:
            self._known = (seen, self._quarantine.onto(seen, datetime.now(UTC)))
        return self._known[1]

    def status(self) -> dict[str, Any]:
        """
        Return the state of Harbor, of every project and of ourselves, for people.
        """
        policy = self._policy
        quarantine = self._living_quarantine()
        return {
            **quarantine.shown_in(self._monitor.status()),
            "mode": policy.mode,
            "paused": policy.paused,
            "quarantined": len(quarantine.images),
            "certificateNotAfter": _timestamp(self._certificate.not_after),
        }

    def _living_quarantine(self) -> Quarantine:
        # What is over by our clock is kept all the same: the clock may be put right again.
        return self._quarantine.at(datetime.now(UTC))

    def unready(self) -> str:
        """
        Say why no reviews should come here, or return an empty string.
        """
        if not self._looked:
            return "Harbor is being probed for the first time"
        if not self._certificate.ready:
            return "there is no valid serving certificate"
        return ""

    async def run(self) -> None:
        """
        Serve until SIGTERM or SIGINT, then drain.
        """
        options = self._options
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self._look_at_files()
        _warn_of(self._config)
        background = [
            asyncio.create_task(self._monitor.run()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._await_first_round()),
        ]
        business = _runner(business_app(self.service))
        ops = _runner(ops_app(self.service))
        try:
            await ops.setup()
            await business.setup()
            ops_site = web.TCPSite(ops, options.host, options.ops_port)
            await ops_site.start()
            keep_tls_buffers_small()
            listener = await loop.create_server(
                self.service.connections.factory(_server(business)),
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
            await stop.wait()
            await self._drain(listener)
        finally:
            for task in background:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await business.cleanup()
            await ops.cleanup()
            _log.info("stopped")

    async def _drain(self, listener: asyncio.Server) -> None:
        """
        Stay for the requests that still come, telling each to go elsewhere next time.

        The API server goes on using its connections to a Pod that is being deleted, and does not
        repeat a POST that met a closed one.
        """
        self.service.draining = True
        _log.info("draining", seconds=self._options.drain_seconds)
        await asyncio.sleep(self._options.drain_seconds)
        listener.close()

    async def _await_first_round(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._monitor.first_round.wait(), FIRST_ROUND_SECONDS)
        self._looked = True

    async def _watch(self) -> None:
        """
        Look at the mounted files again and again; whatever happens there, this goes on.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                await self._look_at_files()
            except Exception:  # noqa: BLE001 - the last good state stays.
                _log.exception("looking at the mounted files failed")

    async def _look_at_files(self) -> None:
        await self._look_at_certificate()
        await self._look_at_quarantine()
        await self._look_at_config()

    async def _look_at_certificate(self) -> None:
        check = await asyncio.to_thread(self._certificate.check)
        self._metrics.certificate_not_after.set(self._certificate.not_after or 0)
        if check.outcome is Outcome.UNCHANGED:
            return
        self._reloaded("certificate", "" if check.outcome is Outcome.LOADED else check.detail)

    async def _look_at_quarantine(self) -> None:
        path = self._options.quarantine
        if path is not None:
            text = await self._changed_text(path)
            if text is not None:
                try:
                    self._quarantine = Quarantine.read(text)
                    self._reloaded("quarantine")
                except HarborCacheError as error:
                    self._reloaded("quarantine", str(error))
        self._metrics.quarantined_images.set(len(self._living_quarantine().images))
        self._known = None

    async def _look_at_config(self) -> None:
        path = self._options.config
        if await self._changed_text(path) is None:
            return
        try:
            config = await asyncio.to_thread(load_config, path)
        except ConfigError as error:
            self._reloaded("config", str(error))
            return
        if config == self._config:
            return
        self._monitor.reconfigure(config)
        self._config = config
        self._policy = config.policy
        self._known = None
        self._reloaded("config")
        _warn_of(config)

    async def _changed_text(self, path: Path) -> str | None:
        """
        Return what *path* holds if that is not what it held at the last look.
        """
        text = await asyncio.to_thread(_read_text, path)
        if path in self._seen and self._seen[path] == text:
            return None
        self._seen[path] = text
        return text

    def _reloaded(self, what: str, problem: str = "") -> None:
        result = "refused" if problem else "loaded"
        self._metrics.config_reload.labels(result).inc()
        if problem:
            _log.error("file refused, the last good one stays", file=what, problem=problem)
        else:
            _log.info("file loaded", file=what)


async def serve(options: Options) -> None:
    """
    Run the webhook until it is told to stop.

    Raises:
        ConfigError: if the config file can't be used at the start.
        OSError: if a port can't be listened on.
    """
    await Server(options, load_config(options.config)).run()


def _warn_of(config: Config) -> None:
    for sentence in config.warnings:
        _log.warning("unwise config", problem=sentence)


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


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _timestamp(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
