"""
The background probes: they keep what decisions are made from.

Every round looks at Harbor and at all projects at once, under one deadline.  Whatever a look ends
in, an exception included, is a finding; nothing that happens in a round ends the monitor.
"""

import asyncio
import random
import time

from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import structlog

from webhook.config import Config
from webhook.errors import HarborError
from webhook.harbor.client import HarborClient
from webhook.harbor.hysteresis import Finding, Thresholds, Track
from webhook.harbor.looks import ACCOUNT, HARBOR, Looks, failed
from webhook.harbor.network import PatientResolver
from webhook.harbor.status import Condition, HarborStatus
from webhook.harbor.tls import Trust
from webhook.image.availability import UNKNOWN, Availability, State
from webhook.process.metrics import FileMetrics, HarborMetrics


__all__ = ["Monitor"]

_MAX_ANSWER: Final = 8 * 1024
"""
In bytes.  The longest answers that probes get, tokens, were 3 KiB; others less than one.
"""

_JITTER: Final = 0.2
_PROBATION_INTERVALS: Final = 12
_log: Final = structlog.get_logger()


class Monitor:
    """
    What is known of Harbor and its projects, kept up to date by `run`.

    `view`, `status` and `since` read memory only.

    Attributes:
        first_round: set once the first round has ended, whatever it showed.
    """

    def __init__(
        self,
        config: Config,
        metrics: HarborMetrics | None = None,
        *,
        files: FileMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare a monitor; *clock* counts seconds and never goes back.

        *files* is where it is counted whether Harbor's CA bundle can be used.
        """
        self.first_round = asyncio.Event()
        self._clock = clock
        self._config = config
        self._metrics = metrics
        self._files = files
        self._resolver = PatientResolver()
        self._trust = Trust(config.harbor.ca_file, files)
        self._tracks: dict[str, Track] = {}
        self._changed: dict[str, tuple[float, datetime]] = {}
        self._looks = Looks(clock)
        self._looked: float | None = None
        self._view = UNKNOWN
        self._forget_all()
        if metrics is not None:
            self._show(metrics)

    def reconfigure(self, config: Config) -> None:
        """
        Go by another config from the next round on; what is known of unchanged projects stays.
        """
        before, self._config = self._config, config
        if config.harbor != before.harbor:
            self._trust = Trust(config.harbor.ca_file, self._files)
            self._forget_all()
        else:
            known = {registry.project: registry for registry in before.registries}
            wanted = {registry.project: registry for registry in config.registries}
            for project in set(known) | set(wanted):
                if known.get(project) != wanted.get(project):
                    self._tracks.pop(project, None)
                    self._looks.forget(project)
            self._add_missing()
        self._publish()
        if self._metrics is not None:
            self._show(self._metrics)

    async def run(self) -> None:
        """
        Probe for ever; the first round starts at once.  Cancel to stop.
        """
        while True:
            started = self._clock()
            try:
                await self.round()
            except Exception:  # noqa: BLE001 - nothing may end the monitor.
                # Looks catch their own; this is a mistake of ours, and knowledge ages meanwhile.
                _log.exception("probe round failed")
            self.first_round.set()
            interval = self._config.probe.interval
            # Only ever earlier than the interval, so that maxAge holds; replicas drift apart.
            pause = interval * random.uniform(1 - _JITTER, 1)  # noqa: S311 - no secret.
            await asyncio.sleep(max(pause - (self._clock() - started), interval * 0.1))

    def view(self) -> Availability:
        """
        Return what decisions are made from: nothing is known once it is older than ``maxAge``.
        """
        return self._view if self._fresh() else UNKNOWN

    def since(self, project: str) -> tuple[State, float]:
        """
        Return a project's state, as far as pulls are concerned, and for how many seconds it holds.

        A project of an unavailable Harbor is unavailable.  It takes as many findings as the
        thresholds say: one look without an answer moves no Pod.
        """
        now = self._clock()
        if not self._fresh():
            return State.UNKNOWN, 0.0 if self._looked is None else now - self._looked
        harbor = self._tracks[HARBOR]
        track = self._tracks.get(project, Track())
        unavailable = [t for t in (harbor, track) if t.state is State.UNAVAILABLE]
        if unavailable:
            return State.UNAVAILABLE, now - min(t.since for t in unavailable)
        if harbor.state is State.UNKNOWN:
            return State.UNKNOWN, now - harbor.since
        return track.state, now - max(track.since, harbor.since)

    def status(self) -> HarborStatus:
        """
        Return all that is known, since when, and why.
        """
        return HarborStatus(
            url=self._config.harbor.base_url,
            age=self._age(),
            max_age=self._config.probe.max_age,
            harbor=self._condition(HARBOR),
            degraded=self._looks.degraded,
            projects=MappingProxyType(
                {each.project: self._condition(each.project) for each in self._config.registries}
            ),
            account=self._condition(ACCOUNT) if ACCOUNT in self._tracks else None,
        )

    async def round(self) -> None:
        """
        Look at everything once; never takes much longer than ``probe.timeout``.
        """
        started = self._clock()
        config = self._config
        try:
            tls = await self._trust.context()
        except HarborError as error:
            findings = dict.fromkeys(self._tracks, failed(error))
        else:
            findings = await self._looks.look(
                config,
                HarborClient(
                    config.harbor.base_url,
                    tls=tls,
                    timeout=config.probe.timeout,
                    max_body=_MAX_ANSWER,
                    resolver=self._resolver,
                ),
                self._is_available,
            )
        if config is not self._config:
            return  # These are another config's findings.
        self._conclude(findings)
        if self._metrics is not None:
            self._metrics.probe_duration.observe(self._clock() - started)

    def _is_available(self, project: str) -> bool:
        return self._tracks.get(project, Track()).state is State.AVAILABLE

    def _conclude(self, findings: dict[str, Finding]) -> None:
        now = self._clock()
        probe = self._config.probe
        thresholds = Thresholds(
            probe.failure_threshold,
            probe.success_threshold,
            probation=probe.interval * _PROBATION_INTERVALS,
        )
        for name, finding in findings.items():
            before = self._tracks.get(name, Track(since=now))
            after = before.after(finding, now, thresholds)
            self._tracks[name] = after
            if finding.cause and self._metrics is not None:
                self._metrics.probe_failures.labels(name, finding.cause).inc()
            if after.for_new_images is not before.for_new_images:
                self._changed[name] = (now, datetime.now(UTC))
                _tell(name, before, after)
        self._looked = now
        self._publish()

    def _publish(self) -> None:
        states = {name: track.for_new_images for name, track in self._tracks.items()}
        harbor = states.pop(HARBOR)
        states.pop(ACCOUNT, None)
        self._view = Availability(harbor, MappingProxyType(states))

    def _forget_all(self) -> None:
        self._tracks.clear()
        self._looks = Looks(self._clock)
        self._looked = None
        self._view = UNKNOWN
        self._add_missing()

    def _add_missing(self) -> None:
        projects = [registry.project for registry in self._config.registries]
        account = [ACCOUNT] if self._config.harbor.username_file is not None else []
        for name in (HARBOR, *account, *projects):
            if name not in self._tracks:
                self._tracks[name] = Track(since=self._clock())
                self._changed[name] = (self._clock(), datetime.now(UTC))

    def _age(self) -> float | None:
        return None if self._looked is None else self._clock() - self._looked

    def _fresh(self) -> bool:
        age = self._age()
        return age is not None and age <= self._config.probe.max_age

    def _condition(self, name: str) -> Condition:
        track = self._tracks[name]
        began, since = self._changed[name]
        state, cause, why = track.for_new_images, track.last.cause, track.last.why
        if not self._fresh():
            state = State.UNKNOWN
            if self._looked is not None:
                cause, why = "stale", "the last probe is older than maxAge"
        return Condition(state, since, self._clock() - began, cause, why)

    def _show(self, metrics: HarborMetrics) -> None:
        metrics.snapshot_age.set_function(lambda: _or_nan(self._age()))
        metrics.harbor_available.set_function(lambda: float(self.view().harbor is State.AVAILABLE))
        metrics.project_available.clear()
        for registry in self._config.registries:
            metrics.project_available.labels(registry.project).set_function(
                self._gauge(registry.project)
            )

    def _gauge(self, project: str) -> Callable[[], float]:
        return lambda: float(self.view().project(project) is State.AVAILABLE)


def _or_nan(number: float | None) -> float:
    return float("nan") if number is None else number


def _tell(name: str, before: Track, after: Track) -> None:
    """
    Log a change of state; what stays the same is not worth a line.
    """
    log = _log
    if name:
        log = log.bind(account="robot") if name == ACCOUNT else log.bind(project=name)
    say = log.info if after.for_new_images is State.AVAILABLE else log.warning
    say(
        "availability changed",
        state=after.for_new_images.value,
        before=before.for_new_images.value,
        cause=after.last.cause,
        why=after.last.why,
    )
