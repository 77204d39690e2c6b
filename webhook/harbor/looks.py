"""
One round of looks: at Harbor, at the robot account, and at every project as nodes pull from it.

All at once, under one deadline.  Whatever a look ends in, an exception included, is a finding.
"""

import asyncio

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from webhook.config import Config, Registry
from webhook.errors import HarborError
from webhook.harbor.account import check_account, read_account, ways_to_pull
from webhook.harbor.checks import check_canary, check_harbor, check_right, read_summary
from webhook.harbor.client import Cause, Credentials, HarborClient, fail
from webhook.harbor.hysteresis import Finding
from webhook.image.availability import State


__all__ = ["ACCOUNT", "HARBOR", "Looks", "failed"]

HARBOR: Final = ""
"""
Harbor as a whole, among the names of projects.
"""

ACCOUNT: Final = "robot account"
"""
The account for private projects, among the names of projects; none of those holds a space.
"""

_CONCURRENT_LOOKS: Final = 8
_CANCELLED_WITHIN: Final = 0.25
"""
How long, in seconds, a look may take to end once it was cancelled; then it is left behind.
"""

Look: TypeAlias = Coroutine[None, None, Finding]

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Refused:
    """
    An account that Harbor does not let in.
    """

    account: Credentials
    finding: Finding
    until: float

    def still_stands(self, account: Credentials, now: float) -> bool:
        """
        Tell whether nothing speaks for another answer yet, such as another secret.
        """
        return account == self.account and now < self.until


class Looks:
    """
    What looks remember from one round to the next: when something costly is due again.

    Attributes:
        degraded: the components of Harbor that are out, and that a pull does not need.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """
        Prepare looks; *clock* counts seconds and never goes back.
        """
        self.degraded: tuple[str, ...] = ()
        self._clock = clock
        self._canaries: dict[str, tuple[float, bool]] = {}
        self._refused: _Refused | None = None
        self._canary_interval = 0.0
        self._settled: Callable[[str], bool] = lambda _: False

    def forget(self, project: str) -> None:
        """
        Ask for a project's canary at the next round, whenever the last time was.
        """
        self._canaries.pop(project, None)

    async def look(
        self, config: Config, client: HarborClient, settled: Callable[[str], bool]
    ) -> dict[str, Finding]:
        """
        Look at Harbor, at the account if there is one, and at every project, and return findings.

        *settled* tells whether a project is known to be available already.
        """
        limit = asyncio.Semaphore(_CONCURRENT_LOOKS)

        async def bounded(look: Look) -> Finding:
            async with limit:
                return await look

        self._canary_interval = config.probe.canary_interval
        self._settled = settled
        async with client:
            looks = {HARBOR: asyncio.create_task(self._look_at_harbor(config, client))}
            has_account = config.harbor.username_file is not None
            account = asyncio.create_task(self._look_at_account(config, client))
            if has_account:
                looks[ACCOUNT] = asyncio.create_task(_finding_of(account))
            for registry in config.registries:
                ways = ways_to_pull(config, registry, account=has_account)
                look = self._look_at_project(registry, client, ways, account)
                looks[registry.project] = asyncio.create_task(bounded(look))
            tasks = {*looks.values(), account}
            _, pending = await asyncio.wait(tasks, timeout=config.probe.timeout)
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending, timeout=_CANCELLED_WITHIN)
            found = {name: _result(task, config.probe.timeout) for name, task in looks.items()}
        if found[HARBOR].state is not State.AVAILABLE:
            # Without its database Harbor refuses everyone: that says nothing of the account.
            self._refused = None
            found.pop(ACCOUNT, None)
        return found

    async def _look_at_harbor(self, config: Config, client: HarborClient) -> Finding:
        self.degraded = await check_harbor(client, config.registries[0].project)
        return Finding(State.AVAILABLE)

    async def _look_at_account(
        self, config: Config, client: HarborClient
    ) -> tuple[Credentials | None, Finding]:
        """
        See whether the robot account is let in; one that is not is asked about rarely.

        Each wrong login is held up by Harbor, and locks the account for a moment.
        """
        try:
            account = read_account(config)
        except HarborError as error:
            return None, failed(error)
        if account is None:
            return None, Finding(State.AVAILABLE)
        if self._refused is not None and self._refused.still_stands(account, self._clock()):
            return account, self._refused.finding
        try:
            await check_account(client, account)
        except HarborError as error:
            finding = failed(error)
            if error.cause == Cause.UNAUTHORIZED:
                until = self._clock() + config.probe.canary_interval
                self._refused = _Refused(account, finding, until)
            return account, finding
        self._refused = None
        return account, Finding(State.AVAILABLE)

    async def _look_at_project(
        self,
        registry: Registry,
        client: HarborClient,
        ways: tuple[bool, ...],
        account: asyncio.Task[tuple[Credentials | None, Finding]],
    ) -> Finding:
        """
        Look at a project as nodes pull from it: with the robot account, or without, or both.
        """
        finding = Finding(State.UNKNOWN)
        for with_account in ways:
            used = None
            if with_account:
                used, found = await account
                if found.cause in (Cause.UNAUTHORIZED, Cause.CREDENTIALS):
                    why = f"nodes pull with a pull secret, but {found.why}"
                    return Finding(State.UNAVAILABLE, found.cause, why)
            try:
                return await self._look_as(registry, client, used)
            except HarborError as error:
                finding = failed(error)
                if error.cause != Cause.UNAUTHORIZED:
                    break
        return finding

    async def _look_as(
        self, registry: Registry, client: HarborClient, account: Credentials | None
    ) -> Finding:
        project = registry.project
        endpoint = await read_summary(client, project, account)
        if account is not None:
            await check_right(client, project, account)
        if endpoint.get("status") != "healthy":
            self._canaries.pop(project, None)
            why = f"Harbor reports its upstream {registry.host} as unhealthy"
            return Finding(State.CACHE_ONLY, Cause.UPSTREAM_UNHEALTHY, why)
        if registry.canary and self._canary_is_due(project):
            # Counts as failed until it is through: a canary that hangs is cancelled on its way.
            self._canaries[project] = (self._clock(), False)
            await check_canary(client, project, registry.canary, account)
            self._canaries[project] = (self._clock(), True)
        return Finding(State.AVAILABLE)

    def _canary_is_due(self, project: str) -> bool:
        """
        Tell whether to ask again: rarely while all is well, at every round while it is not.
        """
        asked, succeeded = self._canaries.get(project, (0.0, False))
        if not succeeded or not self._settled(project):
            return True
        return self._clock() - asked >= self._canary_interval


async def _finding_of(task: asyncio.Task[tuple[Credentials | None, Finding]]) -> Finding:
    _, finding = await asyncio.shield(task)
    return finding


def failed(error: HarborError) -> Finding:
    """
    Return what an error means to availability.
    """
    answered = error.cause != Cause.TIMEOUT
    return Finding(State.UNAVAILABLE, error.cause, str(error), answered=answered)


def _result(task: asyncio.Task[Finding], timeout: float) -> Finding:
    """
    Return what a look ended in; one that was cut off or broke is a failed one.
    """
    if not task.done() or task.cancelled():
        return failed(fail(Cause.TIMEOUT, f"no answer within {timeout:g} s"))
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, HarborError):
        return failed(error)
    _log.error("probe failed", exc_info=error)
    return Finding(State.UNAVAILABLE, Cause.INTERNAL, "the probe itself failed")
