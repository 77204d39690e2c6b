"""
Recovery at work: it follows our Pods, plans every moment, and patches at the configured pace.

Nothing is trusted for long: right before a patch the Pod is read and decided on once more, and
the patch itself tests what it rests on.
"""

import asyncio
import random
import time

from collections.abc import Callable
from typing import Final, Protocol

import structlog

from webhook.config import Config
from webhook.controller.pace import Pace
from webhook.controller.pods import Case, WaitingPods
from webhook.controller.watch import follow_pods
from webhook.errors import ClusterError, RecoveryError
from webhook.image.availability import State
from webhook.kube.api import Kube, backoff
from webhook.kube.events import Events, Subject
from webhook.process.logs import clean
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Evidence, Failure, Verdict
from webhook.recovery.failure import PullFailure
from webhook.recovery.patch import restore_patch
from webhook.recovery.restore import (
    Cause,
    Health,
    Left,
    LeftReason,
    Plan,
    Restore,
    plan_restores,
)
from webhook.recovery.waiting import WatchedPod, watched_pod


__all__ = ["HealthSource", "QuarantineKeeper", "Recovery"]

_TICK: Final = 0.5
_JUDGE_EVERY: Final = 2.0
_BREATHE_EVERY: Final = 200
_MAX_ATTEMPTS: Final = 5
_REFUSED_AGAIN_AFTER: Final = 5.0
_NODE_EVENT_EVERY: Final = 3600.0

_NOT_FOUND: Final = 404
_CHANGED: Final = frozenset({409, 422})
_FORBIDDEN: Final = frozenset({401, 403})

_log = structlog.get_logger()


class HealthSource(Protocol):
    """
    What is known of Harbor; `webhook.harbor.monitor.Monitor` is one.
    """

    def since(self, project: str) -> tuple[State, float]:
        """
        Return a project's state, and for how many seconds it has been that.
        """


class QuarantineKeeper(Protocol):
    """
    Where verdicts go, and what is counted out by now.
    """

    def counted_out(self, project: str) -> float | None:
        """
        Return for how many seconds *project* has been counted out; None if it is not.
        """

    async def apply(self, verdict: Verdict) -> tuple[str, ...]:
        """
        Write what follows from *verdict*, and return the images that someone has dismissed.
        """


class Recovery:
    """
    One run of recovery, for as long as this process is the active controller.
    """

    def __init__(
        self,
        kube: Kube,
        config: Config,
        health: HealthSource,
        *,
        metrics: ControllerMetrics,
        events: Events,
        quarantine: QuarantineKeeper,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._health_source = health
        self._metrics = metrics
        self._events = events
        self._quarantine = quarantine
        self._clock = clock
        self._wall = wall
        self._evidence = Evidence()
        self._nodes_told: dict[str, float] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._config = config.recovery
        self._pace = Pace(self._config.max_patches_per_second)
        self.pods = WaitingPods(config.rules.for_records, self._evidence, metrics, clock)

    def reconfigure(self, config: Config) -> None:
        """
        Go by another config from now on.
        """
        self._config = config.recovery
        self._pace.per_second = self._config.max_patches_per_second
        self.pods.rules = config.rules.for_records

    def status(self) -> dict[str, int]:
        """
        Return how many Pods wait, and how many are about to be put back.
        """
        return {"waiting": len(self.pods.cases), "queued": len(self._queued)}

    async def run(self) -> None:
        """
        Recover for ever.  Cancel to stop.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(follow_pods(self._kube, self.pods))
            group.create_task(self._plan_forever())
            group.create_task(self._patch_forever())
            group.create_task(self._judge_forever())

    async def _plan_forever(self) -> None:
        while True:
            started = self._clock()
            if self._config.enabled:
                await self._plan_all()
            # With very many Pods that wait, planning must not take more than a part of the time.
            await asyncio.sleep(max(_TICK, 4 * (self._clock() - started)))

    async def _plan_all(self) -> None:
        due = []
        for number, case in enumerate(self.pods):
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            plan = self._plan(case.pod, case)
            self._report(case, plan)
            uid = case.pod.uid
            if plan.restores and uid not in self._queued and case.not_before <= self._clock():
                due.append(uid)
        random.shuffle(due)
        for uid in due:
            self._queued.add(uid)
            self._queue.put_nowait(uid)

    def _plan(self, pod: WatchedPod, case: Case) -> Plan:
        return plan_restores(
            pod,
            rules=self.pods.rules,
            health=self._health,
            failing_for=case.failing_for(self._clock()),
            restored=self.pods.restored.get(pod.uid, ()),
            now=self._wall(),
            config=self._config,
        )

    def _health(self, project: str) -> Health:
        state, seconds = self._health_source.since(project)
        counted_out = self._quarantine.counted_out(project)
        if counted_out is not None and state in (State.AVAILABLE, State.CACHE_ONLY):
            return Health(State.UNAVAILABLE, counted_out)
        return Health(state, seconds)

    async def _patch_forever(self) -> None:
        failures = 0
        while True:
            uid = await self._queue.get()
            await self._pace.turn()
            try:
                await self._restore(uid)
                failures = 0
            except ClusterError as error:
                failures += 1
                cause = "forbidden" if error.status in _FORBIDDEN else "api-error"
                self._metrics.recovery_failures.labels(cause).inc()
                wait = backoff(failures)
                _log.warning(
                    "pod not restored", cause=cause, error=str(error), again_in=round(wait, 1)
                )
                await asyncio.sleep(wait)
            finally:
                self._queued.discard(uid)

    async def _restore(self, uid: str) -> None:
        """
        Look at a Pod once more, and put back what is still to be put back.
        """
        case = self.pods.cases.get(uid)
        if case is None:
            return
        path = f"/api/v1/namespaces/{case.pod.namespace}/pods/{case.pod.name}"
        try:
            body = await self._kube.get(path)
            pod = watched_pod(body)
            if pod is None or pod.uid != uid:
                return  # The watch is about to say so.
            self.pods.seen(body, listed=True)
            restores = self._plan(pod, case).restores
            if not restores:
                return
            patched = await self._kube.json_patch(path, restore_patch(body, restores))
        except RecoveryError as error:
            self._refused(case, str(error))
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                self.pods.gone(uid)
            elif error.status in _CHANGED:
                self._refused(case, str(error))
            else:
                raise
        else:
            self._done(pod, case, restores)
            self.pods.seen(patched, listed=True)

    def _refused(self, case: Case, why: str) -> None:
        """
        Take note that the Pod has changed, or that a policy said no; try again later, not at once.
        """
        case.attempts += 1
        pod = case.pod
        self._metrics.recovery_failures.labels("conflict").inc()
        last = case.attempts >= _MAX_ATTEMPTS
        wait = float("inf") if last else _REFUSED_AGAIN_AFTER * 2.0 ** (case.attempts - 1)
        case.not_before = self._clock() + wait
        _log.warning(
            "restore refused",
            namespace=pod.namespace,
            pod=pod.name,
            attempt=case.attempts,
            given_up=last,
            error=why,
        )
        if last:
            self._events.tell(
                _subject(pod),
                "HarborCacheRestoreRefused",
                f"Could not be put back to its original image: {why}. Is there a policy that"
                " allows only images of Harbor? Delete the Pod to have it made anew.",
                warning=True,
            )

    def _done(self, pod: WatchedPod, case: Case, restores: tuple[Restore, ...]) -> None:
        names = self.pods.restored.setdefault(pod.uid, set())
        for cause in {restore.cause for restore in restores}:
            self._metrics.pods_recovered.labels(cause.value).inc()
        for restore in restores:
            container = restore.container
            names.add(container.name)
            _log.info(
                "container restored",
                namespace=pod.namespace,
                pod=pod.name,
                uid=pod.uid,
                node=pod.node,
                container=container.name,
                image=clean(container.image),
                original=clean(restore.original),
                cause=restore.cause.value,
                waiting=container.reason,
                project=restore.project,
                state=restore.state.value,
            )
            self._events.tell(
                _subject(pod),
                "HarborCacheRestored",
                f"Container {container.name}: {_WHY[restore.cause]}; put back from"
                f" {clean(container.image)} to {clean(restore.original)}.",
            )
            if restore.cause is Cause.FAILS and not restore.moved and pod.node:
                now = self._clock()
                _, since = case.failing.get(container.name, ("", now))
                health = self._health(restore.project)
                self._evidence.failed(
                    Failure(
                        image=restore.identity,
                        project=restore.project,
                        node=pod.node,
                        namespace=pod.namespace,
                        since=since,
                        at=now,
                        failure=container.failure or PullFailure.UNKNOWN,
                        steady=health.state is State.AVAILABLE and health.seconds >= now - since,
                    )
                )

    def _report(self, case: Case, plan: Plan) -> None:
        """
        Say once per container that it is left as it is, and why.
        """
        for left in plan.left:
            key = left.container.name, f"{left.reason} {left.image}"
            if key in case.reported:
                continue
            case.reported.add(key)
            pod = case.pod
            self._metrics.recovery_failures.labels(left.reason.value).inc()
            _log.warning(
                "container left",
                namespace=pod.namespace,
                pod=pod.name,
                uid=pod.uid,
                container=left.container.name,
                image=clean(left.image),
                record=clean(left.container.record),
                reason=left.reason.value,
            )
            self._events.tell(_subject(pod), "HarborCacheNotRestored", _advice(left), warning=True)

    async def _judge_forever(self) -> None:
        while True:
            await asyncio.sleep(_JUDGE_EVERY)
            if not self._config.enabled:
                continue
            verdict = self._evidence.judge(self._clock())
            for image in await self._quarantine.apply(verdict):
                self._evidence.forget(image)
            for node, images in verdict.nodes.items():
                self._tell_of_node(node, images)

    def _tell_of_node(self, node: str, images: int) -> None:
        now = self._clock()
        if now - self._nodes_told.get(node, float("-inf")) < _NODE_EVENT_EVERY:
            return
        self._nodes_told[node] = now
        _log.warning("node can't pull", node=node, images=images)
        self._events.tell(
            # The kubelet's own Events about a node carry its name as uid.
            Subject("Node", node, uid=node),
            "HarborCachePullsFail",
            f"All {images} images that were to be pulled from Harbor lately failed on this node."
            " Does its container runtime trust Harbor's certificate, and can it reach Harbor?",
            warning=True,
        )


_WHY: Final = {
    Cause.UNAVAILABLE: "Harbor, or this project of it, is unavailable",
    Cause.HANGS: "Harbor, or this project of it, is unavailable, and the pull hangs",
    Cause.FAILS: "Harbor is there, but could not serve this image",
}


def _advice(left: Left) -> str:
    """
    Say what happened, and what to do about it.
    """
    image, original = clean(left.image), clean(left.original)
    if left.reason is LeftReason.IMAGE_VOLUME:
        return (
            f"The image of a volume can't be pulled from Harbor: {image}. A volume's image can't"
            f" be changed in place: delete the Pod, and use {original} or opt the Pod out with"
            " the label harbor-cache.io/mode: off."
        )
    if left.reason is LeftReason.EPHEMERAL_CONTAINER:
        return (
            f"The ephemeral container {left.container.name} can't pull {image} from Harbor, and"
            f" can't be changed. Add another one (kubectl debug) with {original}."
        )
    return (
        f"Container {left.container.name} can't pull {image}, and is not put back: the recorded"
        f" original ({clean(left.container.record) or 'none'}) does not lead to this image."
        " Delete the Pod, or correct its image."
    )


def _subject(pod: WatchedPod) -> Subject:
    return Subject("Pod", pod.name, pod.namespace, pod.uid)
