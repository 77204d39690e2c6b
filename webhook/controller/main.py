"""
The composition root of `harbor-cache controller`: where its parts meet.

Every controller probes Harbor, so that one that takes over knows already; only the one that holds
the Lease watches Pods, writes the quarantine and keeps the certificates.
"""

import asyncio
import secrets
import signal
import socket

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from certs.rotation import Lifetimes
from webhook import __version__
from webhook.config import Config, load_config
from webhook.controller.census import count_forever
from webhook.controller.certificates import CertificateKeeper, Names
from webhook.controller.loop import Recovery
from webhook.controller.mistakes import begun_again
from webhook.controller.namespaces import Namespaces
from webhook.controller.store import Store
from webhook.harbor.monitor import Monitor
from webhook.kube.api import Kube, connect
from webhook.kube.events import Events
from webhook.kube.lease import Leadership, Times
from webhook.process.bounded_port import BoundedPort
from webhook.process.listening import EVERYWHERE, bind, raise_file_limit
from webhook.process.metrics import ControllerMetrics
from webhook.process.mounted_file import MountedFile
from webhook.process.ops_routes import OPS_LIMITS, ops_handler


__all__ = ["Options", "run_controller"]

_RELOAD_EVERY: Final = 2.0
_CALL_TIMEOUT: Final = 15.0
_SHUTDOWN_SECONDS: Final = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Options:
    """
    What the command line says.

    Attributes:
        config: the config file.
        kubeconfig: how to reach the API server; None for the Pod's own account.
        names: which objects are ours.
        fence: the fingerprint of the rules that Pods may be moved to Harbor by; None if unknown.
        quarantine_configmap: the ConfigMap of the quarantine.
        lease: the Lease by which one controller is active.
        host: where the ops port listens.
        ops_port: the ops port; 0 takes a free one.
        context: a context of *kubeconfig*, if not the current one.
        self_managed: whether certificates are issued and renewed.
        lifetimes: how long certificates live, if not as usual.
        times: those of the Lease, if not the usual ones.
    """

    config: Path
    kubeconfig: Path | None
    names: Names
    quarantine_configmap: str
    lease: str
    host: str = EVERYWHERE
    ops_port: int = 8080
    context: str | None = None
    self_managed: bool = True
    lifetimes: Lifetimes | None = None
    times: Times | None = None
    fence: str | None = None


async def run_controller(options: Options) -> None:
    """
    Run until SIGTERM or SIGINT, and give the Lease back.

    Raises:
        ConfigError: if the config file can't be used.
        ClusterError: if nothing says how to reach the API server.
        HarborCacheError: if the ops port can't be had.
    """
    config = load_config(options.config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with connect(options.kubeconfig, _CALL_TIMEOUT, context=options.context) as kube:
        await Controller(kube, config, options).run(stop)


class Controller:
    """
    Everything that a running controller knows.
    """

    def __init__(self, kube: Kube, config: Config, options: Options) -> None:
        namespace = options.names.namespace
        identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        self._options = options
        self._config = config
        self._kube = kube
        self._metrics = ControllerMetrics()
        self._monitor = Monitor(config, self._metrics.harbor, files=self._metrics.files)
        self._events = Events(kube, identity)
        self._recovery: Recovery | None = None
        self._store = Store(
            kube,
            config,
            namespace=namespace,
            name=options.quarantine_configmap,
            metrics=self._metrics,
        )
        self._keeper = CertificateKeeper(kube, options.names, self._metrics, options.lifetimes)
        self._leadership = Leadership(
            kube,
            namespace=namespace,
            name=options.lease,
            identity=identity,
            times=options.times,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run until *stop* is set.
        """
        raise_file_limit()
        ops = BoundedPort(
            ops_handler(self._metrics.registry, unready=self._unready, status=self._status),
            OPS_LIMITS,
        )
        try:
            ops.open(bind(self._options.host, self._options.ops_port))
            _log.info("started", ops_port=ops.port, lease=self._options.lease)
            background = [
                asyncio.create_task(self._monitor.run()),
                asyncio.create_task(self._reload_forever()),
                asyncio.create_task(self._leadership.run(self._lead)),
            ]
            stopped = asyncio.create_task(stop.wait())
            try:
                # None of these ends by itself; one that breaks ends the process, to begin anew.
                await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (stopped, *background):
                    task.cancel()
                await asyncio.wait([stopped, *background])
            for task in background:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
        finally:
            await ops.close(_SHUTDOWN_SECONDS)
        _log.info("stopped")

    async def _lead(self) -> None:
        """
        Do what only one controller may do.
        """
        namespaces = Namespaces(
            self._kube, self._options.names.webhook_configuration, self._metrics
        )
        self._recovery = recovery = Recovery(
            self._kube,
            self._config,
            self._monitor,
            metrics=self._metrics,
            events=self._events,
            memory=self._store,
            mode=namespaces.mode,
            no_rescue=self._no_rescue,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(namespaces.run())
                group.create_task(recovery.run())
                group.create_task(begun_again("events", self._events.run, self._metrics))
                group.create_task(
                    count_forever(
                        self._kube,
                        lambda: self._config.rules,
                        lambda: namespaces.opted_in,
                        recovery.pods,
                        self._metrics,
                    )
                )
                if self._options.self_managed:
                    keep = self._keeper.run
                    group.create_task(begun_again("certificates", keep, self._metrics))
        finally:
            self._recovery = None

    async def _reload_forever(self) -> None:
        """
        Go by the config file as it is now; what can't be used leaves the last good one.
        """
        file = MountedFile(
            "config",
            self._options.config,
            load_config,
            value=self._config,
            metrics=self._metrics.files,
        )
        while True:
            await asyncio.sleep(_RELOAD_EVERY)
            if not await file.look() or file.value is None:
                continue
            self._config = config = file.value
            self._monitor.reconfigure(config)
            self._store.reconfigure(config)
            if self._recovery is not None:
                self._recovery.reconfigure(config)

    def _no_rescue(self, config: Config) -> str:
        """
        Say why nothing may be rescued by *config*: the cluster's fence would refuse it.
        """
        fence = self._options.fence
        if fence is None or fence == config.rules.fingerprint:
            return ""
        if fence == "none":
            return "the chart was told not to let Pods be moved to Harbor"
        return "the fence around the controller was rendered from other rules than the config's"

    def _unready(self) -> str:
        if not self._monitor.first_round.is_set():
            return "Harbor is being probed for the first time"
        return ""

    def _status(self) -> dict[str, Any]:
        recovery = self._recovery
        return {
            **self._monitor.status().with_suspended(self._store.quarantine).as_json(),
            "leading": self._leadership.leading,
            "leader": self._leadership.holder,
            "recovery": recovery.status() if recovery else None,
            "quarantine": self._store.status(),
            "certificates": self._keeper.problem or "ok" if self._options.self_managed else None,
            "version": __version__,
        }
