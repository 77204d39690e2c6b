"""
The ConfigMap of the quarantine: read, extended and written, never over somebody else's change.
"""

import time

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from webhook.config import Config
from webhook.errors import ClusterError, QuarantineError
from webhook.image.quarantine import EMPTY, Quarantine
from webhook.kube.api import Kube
from webhook.process.logs import clean
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Verdict
from webhook.recovery.ledger import Ledger, after_verdict, reconcile
from webhook.text import timestamp


__all__ = ["QuarantineStore"]

QUARANTINE_KEY: Final = "quarantine.json"
LEDGER_KEY: Final = "ledger.json"

_LOOK_EVERY: Final = 20.0
"""
How often the ConfigMap is read where nothing is to be written, in seconds: someone may have
deleted an entry by hand, and entries end.
"""

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409

_log = structlog.get_logger()


class QuarantineStore:
    """
    What is left alone, as it stands in the ConfigMap.
    """

    def __init__(
        self,
        kube: Kube,
        config: Config,
        *,
        namespace: str,
        name: str,
        metrics: ControllerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._config = config.recovery
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._path = f"{self._collection}/{name}"
        self._metadata = {"name": name, "namespace": namespace}
        self._metrics = metrics
        self._clock = clock
        self._looked = float("-inf")
        self._known: Quarantine = EMPTY
        self._ledger = Ledger()
        self._since: dict[str, float] = {}
        self._refused: set[str] = set()

    def reconfigure(self, config: Config) -> None:
        """
        Go by another config from now on.
        """
        self._config = config.recovery

    @property
    def quarantine(self) -> Quarantine:
        """
        Return what is quarantined and suspended now.
        """
        return self._known.at(datetime.now(UTC))

    def status(self) -> dict[str, int]:
        """
        Return how much is left alone.
        """
        return {"images": len(self._known.images), "projects": len(self._known.projects)}

    def counted_out(self, project: str) -> float | None:
        """
        Return for how many seconds *project* has been counted out; None if it is not.
        """
        entry = self._known.projects.get(project)
        if entry is None or entry.until <= datetime.now(UTC):
            return None
        return self._clock() - self._since.setdefault(project, self._clock())

    async def apply(self, verdict: Verdict) -> tuple[str, ...]:
        """
        Write what follows from *verdict*; return what someone has deleted by hand.

        Failures to read or write are logged; the next verdict says the same again.
        """
        now = datetime.now(UTC)
        news = after_verdict(self._known, self._ledger, verdict, now, self._config)
        if not news.added and self._clock() - self._looked < _LOOK_EVERY:
            return self._ledger.dismissed
        try:
            await self._synchronise(verdict, now)
        except ClusterError as error:
            if error.status != _CONFLICT:  # Else somebody else was quicker: next time, then.
                _log.warning("quarantine not written", error=str(error))
                self._metrics.recovery_failures.labels("quarantine").inc()
        return self._ledger.dismissed

    async def _synchronise(self, verdict: Verdict, now: datetime) -> None:
        item, missing = await self._read()
        data: dict[str, str] = item.get("data") or {}
        try:
            found = Quarantine.read(data.get(QUARANTINE_KEY, ""))
        except QuarantineError as error:
            # Webhooks keep their last good file; what stands here is of use to nobody.
            _log.warning("quarantine begun anew", error=str(error))
            found = EMPTY
        before = Ledger.read(data.get(LEDGER_KEY, ""))
        for problem in (*found.dropped, *before.dropped):
            _log.warning("entry of the quarantine dropped", entry=clean(problem))
        ledger = reconcile(found, before, now, self._config.quarantine_max)
        outcome = after_verdict(found, ledger, verdict, now, self._config)
        ledger = outcome.ledger
        wanted = {
            **data,
            QUARANTINE_KEY: outcome.quarantine.write(),
            LEDGER_KEY: ledger.write(),
        }
        if wanted != data:
            item["data"] = wanted
            if missing:
                await self._kube.create(self._collection, item)
            else:
                await self._kube.replace(self._path, item)
        self._looked = self._clock()
        self._known, self._ledger = outcome.quarantine, ledger
        self._metrics.quarantined_images.set(len(outcome.quarantine.images))
        for name in outcome.added:
            _log.info("quarantined", name=name, until=_until(outcome.quarantine, name))
        for image in set(outcome.refused) - self._refused:
            _log.warning("no room in the quarantine", image=image)
            self._metrics.recovery_failures.labels("quarantine-full").inc()
        self._refused = set(outcome.refused)
        for project in self._since.keys() - outcome.quarantine.projects.keys():
            del self._since[project]
        for project in outcome.quarantine.projects:
            self._since.setdefault(project, self._clock())

    async def _read(self) -> tuple[dict[str, Any], bool]:
        """
        Return the ConfigMap, and whether it has to be created.
        """
        try:
            return await self._kube.get(self._path), False
        except ClusterError as error:
            if error.status != _NOT_FOUND:
                raise
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata}, True


def _until(quarantine: Quarantine, name: str) -> str:
    entry = quarantine.images.get(name) or quarantine.projects[name]
    return timestamp(entry.until)
