"""
What outlives the controller, in its ConfigMap; never written over somebody else's change.

Three keys: the quarantine, which webhooks mount; the ledger of what was put there; and the rules
that were in force lately, by which Pods may still wait.

Where somebody deletes it, it is made again: the quarantine begins anew, and what a running
controller knows of former rules, and of names that were dismissed by hand, is written down once more.
"""

import time

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import structlog

from webhook.config import Config
from webhook.errors import ClusterError, QuarantineError
from webhook.image.availability import UNKNOWN, Availability
from webhook.image.quarantine import EMPTY, Quarantine
from webhook.kube.api import Kube
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Verdict
from webhook.recovery.former import FormerRules
from webhook.recovery.ledger import Ledger, after_verdict, reconcile
from webhook.text import clean, timestamp


__all__ = ["Store"]

QUARANTINE_KEY: Final = "quarantine.json"
LEDGER_KEY: Final = "ledger.json"
FORMER_KEY: Final = "former-rules.json"

_LOOK_EVERY: Final = 20.0
"""
How often the ConfigMap is read where nothing is to be written, in seconds: someone may have
deleted an entry by hand, and entries end.
"""

_FORMER_EVERY: Final = timedelta(hours=12)
"""
How often it is written down that the rules are still in force: they are kept for days.
"""


_log = structlog.get_logger()


class Store:
    """
    What is quarantined or suspended, and what was rewritten, as it stands in the ConfigMap.

    Attributes:
        former: the rules that were in force lately, those in force included.
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
        self._rules = config.rules
        self.former = FormerRules()
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._path = f"{self._collection}/{name}"
        self._metadata = {"name": name, "namespace": namespace}
        self._metrics = metrics
        self._clock = clock
        self._looked = float("-inf")
        self._never_read = True
        self._known: Quarantine = EMPTY
        self._ledger = Ledger()
        self._since: dict[str, float] = {}
        self._refused: set[str] = set()

    def reconfigure(self, config: Config) -> None:
        """
        Go by another config from now on.
        """
        self._config = config.recovery
        self._rules = config.rules
        self._looked = float("-inf")  # What was in force until now is to be written down at once.

    @property
    def ready(self) -> bool:
        """
        Tell whether the ConfigMap has been read.
        """
        return not self._never_read

    @property
    def quarantine(self) -> Quarantine:
        """
        Return what is quarantined and suspended now.
        """
        return self._known.at(datetime.now(UTC))

    def status(self) -> dict[str, int]:
        """
        Return how much is quarantined.
        """
        return {"images": len(self._known.images), "projects": len(self._known.projects)}

    def onto(self, availability: Availability) -> Availability:
        """
        Return *availability* with what is quarantined or suspended written over it.

        Nothing is known to be available before the ConfigMap has been read.
        """
        if self._never_read:
            return UNKNOWN
        return self._known.onto(availability, datetime.now(UTC))

    def suspended(self, project: str) -> float | None:
        """
        Return for how many seconds *project* has been suspended; None if it is not.
        """
        entry = self._known.projects.get(project)
        if entry is None or entry.until <= datetime.now(UTC):
            return None
        return self._clock() - self._since.setdefault(project, self._clock())

    async def apply(self, verdict: Verdict) -> tuple[str, ...]:
        """
        Write what follows from *verdict*; return what someone has deleted by hand: no more of it.

        Failures to read or write are logged; the next verdict says the same again.
        """
        now = datetime.now(UTC)
        news = after_verdict(self._known, self._ledger, verdict, now, self._config)
        if not news.added and self._clock() - self._looked < _LOOK_EVERY:
            return self._ledger.dismissed
        known = self._known
        try:
            begun_anew = await self._synchronise(verdict, now)
        except ClusterError as error:
            if error.status == HTTPStatus.CONFLICT:
                self._looked = float("-inf")  # Somebody else was quicker: next time, then.
            else:
                _log.warning("quarantine not written", error=str(error))
                self._metrics.recovery_failures.labels("quarantine").inc()
            return self._ledger.dismissed
        if begun_anew:
            return (*self._ledger.dismissed, *known.images, *verdict.images)
        return self._ledger.dismissed

    async def _synchronise(self, verdict: Verdict, now: datetime) -> bool:
        """
        Read the ConfigMap and write it where it has to change; tell whether it was made anew.

        Raises:
            ClusterError: if it can't be read or written; what was read is known all the same.
        """
        item, missing = await self._read()
        data: dict[str, str] = item.get("data") or {}
        if missing:
            _log.warning("quarantine begun anew", error="its ConfigMap is gone")
            verdict = Verdict()
            kept = Ledger(dismissed=self._ledger.dismissed)
            data = {LEDGER_KEY: kept.write(), FORMER_KEY: self.former.write()}
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
        former = self._remembered(data.get(FORMER_KEY, ""), now)
        if former != self.former:
            self.former = former
        self._never_read, self._looked = False, self._clock()
        self._known, self._ledger = found.at(now), ledger
        wanted = {
            **data,
            QUARANTINE_KEY: outcome.quarantine.write(),
            LEDGER_KEY: outcome.ledger.write(),
            FORMER_KEY: former.write(),
        }
        if missing or wanted != data:
            item["data"] = wanted
            if missing:
                await self._kube.create(self._collection, item)
            else:
                await self._kube.replace(self._path, item)
        self._known, self._ledger = outcome.quarantine, outcome.ledger
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
        return missing

    def _remembered(self, text: str, now: datetime) -> FormerRules:
        """
        Return what is remembered from now on, after the *text* that stands there.
        """
        found = FormerRules.read(text)
        for why in found.dropped:
            _log.warning("former rule dropped", why=why)
        wanted = found.with_rules(self._rules, now)
        known = {(pair.registry, pair.project, pair.aliases) for pair in found.pairs}
        same = known == {(pair.registry, pair.project, pair.aliases) for pair in wanted.pairs}
        oldest = min((pair.until for pair in found.pairs[: len(self._rules.rules)]), default=now)
        if same and not found.dropped and now - oldest < _FORMER_EVERY:
            return found
        return wanted

    async def _read(self) -> tuple[dict[str, Any], bool]:
        """
        Return the ConfigMap, and whether it has to be created.
        """
        try:
            return await self._kube.get(self._path), False
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata}, True


def _until(quarantine: Quarantine, name: str) -> str:
    entry = quarantine.images.get(name) or quarantine.projects[name]
    return timestamp(entry.until)
