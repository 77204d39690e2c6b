"""
What the webhook goes by: its mounted files, and what the monitor knows of Harbor.

All of it is kept up to date in the background, and read from memory by reviews.
"""

import asyncio

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from certs.source import FileSource, Outcome
from webhook import __version__
from webhook.config import Config, load_config
from webhook.harbor.monitor import Monitor
from webhook.image.availability import Availability
from webhook.image.quarantine import EMPTY, Quarantine
from webhook.pod.decision import Policy
from webhook.process.metrics import WebhookMetrics
from webhook.process.mounted_file import MountedFile, tell_refused
from webhook.text import timestamp


__all__ = ["Inputs"]

FIRST_ROUND_SECONDS: Final = 3.0
"""
How long readiness waits for the first round of probes.
"""

_LOOK_SECONDS: Final = 1.0
_CERTIFICATE: Final = "certificate"

_log = structlog.get_logger()


class Inputs:
    """
    What decisions are made from, and whether any should be made here.
    """

    def __init__(
        self,
        config: Config,
        metrics: WebhookMetrics,
        *,
        config_file: Path,
        certificate: FileSource,
        quarantine_file: Path | None,
    ) -> None:
        """
        Prepare to go by *config*, which *config_file* held at the start, and by what follows it.
        """
        self._metrics = metrics
        self._certificate = certificate
        self._config_file = MountedFile(
            "config", config_file, load_config, value=config, metrics=metrics.files
        )
        self._quarantine_file: MountedFile[Quarantine] | None = None
        if quarantine_file is not None:
            self._quarantine_file = MountedFile(
                "quarantine",
                quarantine_file,
                _read_quarantine,
                value=EMPTY,
                optional=True,
                metrics=metrics.files,
            )
        self._policy = config.policy
        self._monitor = Monitor(config, metrics.harbor, files=metrics.files)
        self._known: tuple[Availability, Availability] | None = None
        self._looked = False

    @property
    def policy(self) -> Policy:
        """
        Return what the config says about Pods.
        """
        return self._policy

    @property
    def quarantine(self) -> Quarantine:
        """
        Return what is quarantined and suspended now.
        """
        # What is over by our clock is kept all the same: the clock may be put right again.
        return self._all_quarantined.at(datetime.now(UTC))

    def availability(self) -> Availability:
        """
        Return what is known of Harbor now, with the quarantine laid over it.
        """
        seen = self._monitor.view()
        if self._known is None or self._known[0] is not seen:
            self._known = (seen, self._all_quarantined.onto(seen, datetime.now(UTC)))
        return self._known[1]

    def status(self) -> dict[str, Any]:
        """
        Return the state of Harbor, of every project and of ourselves, as JSON for people.
        """
        quarantine = self.quarantine
        served = self._certificate.served
        return {
            **self._monitor.status().with_suspended(quarantine).as_json(),
            "mode": self._policy.mode,
            "paused": self._policy.paused,
            "quarantined": len(quarantine.images),
            "certificateNotAfter": served and timestamp(served.certificate.not_valid_after_utc),
            "certificate": served and served.certificate_pem.decode(),
            "version": __version__,
            "refused": {
                name: problem
                for name, problem in (
                    ("config", self._config_file.refused),
                    ("quarantine", self._quarantine_file and self._quarantine_file.refused),
                    (_CERTIFICATE, self._certificate.problem),
                )
                if problem
            },
        }

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
        Keep all of this up to date, for ever.  Cancel to stop.
        """
        _warn_of(self._config)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._monitor.run())
            group.create_task(self._await_first_round())
            group.create_task(self._look_forever())

    async def look(self) -> None:
        """
        Look at the mounted files once.
        """
        await self._look_at_certificate()
        await self._look_at_quarantine()
        if await self._config_file.look():
            self._policy = self._config.policy
            self._monitor.reconfigure(self._config)
            self._known = None
            _warn_of(self._config)

    @property
    def _config(self) -> Config:
        assert self._config_file.value is not None  # noqa: S101 - there was one at the start.
        return self._config_file.value

    @property
    def _all_quarantined(self) -> Quarantine:
        return (self._quarantine_file and self._quarantine_file.value) or EMPTY

    async def _await_first_round(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._monitor.first_round.wait(), FIRST_ROUND_SECONDS)
        self._looked = True

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the last good state stays.
                _log.exception("looking at the mounted files failed")

    async def _look_at_certificate(self) -> None:
        check = await asyncio.to_thread(self._certificate.check)
        self._metrics.certificate_not_after.set(self._certificate.not_after or 0)
        files = self._metrics.files
        files.refused.labels(_CERTIFICATE).set(0 if self._certificate.problem is None else 1)
        if check.outcome is Outcome.REFUSED:
            tell_refused(_CERTIFICATE, check.detail, files, kept=self._certificate.ready)
        elif check.outcome is Outcome.LOADED:
            files.reloads.labels("loaded").inc()
            if check.is_alarming:
                _log.warning("the certificate is out of its time", certificate=check.detail)
            else:
                _log.info("the certificate is new", certificate=check.detail)

    async def _look_at_quarantine(self) -> None:
        if self._quarantine_file is not None:
            await self._quarantine_file.look()
        self._metrics.quarantined_images.set(len(self.quarantine.images))
        self._known = None


def _read_quarantine(path: Path) -> Quarantine:
    return Quarantine.read(path.read_text(encoding="utf-8"))


def _warn_of(config: Config) -> None:
    for sentence in config.warnings:
        _log.warning("unwise config", problem=sentence)
