"""
One active controller of several, by a Lease.

Written here because the client library's election lets a refused connection end it, compares wall
clocks of different machines, and does not wait for the work that it cancels.  As in client-go,
another holder's Lease counts from when *we* saw it renewed, so clocks need not agree.
"""

import asyncio
import time

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog

from webhook.errors import ClusterError
from webhook.kube.api import Kube
from webhook.text import timestamp


__all__ = ["Leadership", "Times"]


_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Times:
    """
    How long, in seconds.

    Attributes:
        lease: others wait so long after the last renewal before they take over.
        renew_within: the holder stops its work if it could not renew for so long; shorter.
        retry: between two looks at the Lease.
    """

    lease: float = 15.0
    renew_within: float = 10.0
    retry: float = 2.0


class Leadership:
    """
    Does the work while this process holds the Lease, and stops it before anyone else may start.

    Attributes:
        leading: whether the work is being done now.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: Times | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leading = False
        self.holder = ""
        self._kube = kube
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._metadata = {"name": name, "namespace": namespace}
        self._identity = identity
        self._times = times or Times()
        self._clock = clock
        self._seen: tuple[Any, float] = (None, 0.0)

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """
        Wait for the Lease, do *work* while it lasts, and begin again.  Cancel to stop.

        The Lease is given back on the way out, so that another controller need not wait.
        """
        while True:
            await self._acquire()
            _log.info("leading", identity=self._identity)
            self.leading = True
            task = asyncio.ensure_future(work())
            try:
                await self._hold(task)
            finally:
                task.cancel()
                await asyncio.wait([task])
                self.leading = False
                await self._release()
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("the work broke off", exc_info=error)
            _log.warning("no longer leading", identity=self._identity)
            await asyncio.sleep(self._times.retry)

    async def _acquire(self) -> None:
        while not await self._try():  # noqa: ASYNC110 -- Nobody tells us.
            await asyncio.sleep(self._times.retry)

    async def _hold(self, task: asyncio.Future[None]) -> None:
        """
        Renew until that has failed for too long, or the work has ended.
        """
        renewed = self._clock()
        while True:
            await asyncio.wait([task], timeout=self._times.retry)
            if task.done():
                return
            left = renewed + self._times.renew_within - self._clock()
            began = self._clock()
            try:
                # A call that hangs must not outlast the Lease.
                async with asyncio.timeout(max(left, 0.1)):
                    if await self._try():
                        renewed = began
            except TimeoutError:
                pass
            taken = self.holder not in ("", self._identity)
            if taken or self._clock() - renewed >= self._times.renew_within:
                return

    async def _try(self) -> bool:
        """
        Take or renew the Lease; tell whether it is ours now.
        """
        try:
            try:
                lease = await self._kube.get(self._path)
            except ClusterError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                await self._kube.create(self._collection, self._body({}))
                self.holder = self._identity
                return True
            spec = lease.get("spec") or {}
            self.holder = spec.get("holderIdentity") or ""
            if self.holder not in ("", self._identity) and not self._expired(spec):
                return False
            await self._kube.replace(self._path, self._body(lease))
            self.holder = self._identity
        except ClusterError as error:
            if error.status != HTTPStatus.CONFLICT:
                _log.warning("lease not renewed", error=str(error))
            return False
        return True

    def _expired(self, spec: dict[str, Any]) -> bool:
        state = spec.get("holderIdentity"), spec.get("renewTime")
        now = self._clock()
        if state != self._seen[0]:
            self._seen = state, now
        seconds = float(spec.get("leaseDurationSeconds") or self._times.lease)
        return now - self._seen[1] > seconds

    def _body(self, lease: dict[str, Any]) -> dict[str, Any]:
        spec = lease.get("spec") or {}
        now = timestamp(datetime.now(UTC), "microseconds")
        held = spec.get("holderIdentity") == self._identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": lease.get("metadata") or self._metadata,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._times.lease)),
                "acquireTime": spec.get("acquireTime") or now if held else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (not held),
            },
        }

    async def _release(self) -> None:
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(2):
                lease = await self._kube.get(self._path)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self._identity:
                    lease["spec"] = {**spec, "holderIdentity": ""}
                    await self._kube.replace(self._path, lease)
