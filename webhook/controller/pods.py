"""
What is remembered of the Pods that wait: small, and forgotten with the Pod.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from webhook.image.rules import Rules
from webhook.kube.listing import Head
from webhook.pod.origin import project_of
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Evidence
from webhook.recovery.identity import identity, refused_upstream
from webhook.recovery.waiting import WatchedPod, watched_pod


__all__ = ["Case", "WaitingPods"]

_MOST_TOLD: Final = 1000

_log = structlog.get_logger()


@dataclass(slots=True)
class Case:
    """
    A Pod that waits for a pull, or may be waiting.

    Attributes:
        pod: as it was last seen.
        failing: by container, its image and since when it was seen to fail, in seconds.
        reported: containers that were reported as left, with the reason.
        attempts: how often a patch was refused.
        not_before: no patch is tried before this time, in seconds.
    """

    pod: WatchedPod
    failing: dict[str, tuple[str, float]] = field(default_factory=dict)
    reported: set[tuple[str, str]] = field(default_factory=set)
    attempts: int = 0
    not_before: float = 0.0

    def failing_for(self, now: float) -> dict[str, float]:
        """
        Return by container for how long, in seconds, its pull has been seen to fail.
        """
        return {name: now - since for name, (_, since) in self.failing.items()}


class WaitingPods:
    """
    Keeps the Pods that wait, and hands what started on to the evidence.

    Attributes:
        cases: by the Pod's uid.
        restored: by the Pod's uid, the containers that were put back.
    """

    def __init__(
        self,
        rules: Rules,
        evidence: Evidence,
        metrics: ControllerMetrics,
        clock: Callable[[], float],
    ) -> None:
        self.rules = rules
        self.cases: dict[str, Case] = {}
        self.restored: dict[str, set[str]] = {}
        self._evidence = evidence
        self._metrics = metrics
        self._too_large: dict[str, None] = {}
        self._clock = clock

    def __iter__(self) -> Iterator[Case]:
        return iter(list(self.cases.values()))

    def seen(self, pod: Mapping[str, Any], *, listed: bool) -> None:
        """
        Take a Pod as it is now.
        """
        watched = watched_pod(pod)
        if watched is None:
            self.cases.pop(pod["metadata"]["uid"], None)
            return
        before = self.cases.get(watched.uid)
        self._note_started(watched, before, listed=listed)
        for image in refused_upstream(watched, self.rules):
            self._evidence.nowhere(image, self._clock())
        if not watched.waiting:
            self.cases.pop(watched.uid, None)
            return
        case = before or Case(watched)
        case.pod = watched
        case.failing = self._failing(watched, case.failing)
        self.cases[watched.uid] = case

    def too_large(self, pod: Head) -> None:
        """
        Let go of a Pod that is too large to be looked at, and tell of it once.
        """
        self.cases.pop(pod.uid, None)
        if pod.uid in self._too_large:
            return
        self._too_large[pod.uid] = None
        if len(self._too_large) > _MOST_TOLD:
            del self._too_large[next(iter(self._too_large))]
        _log.warning("pod too large", namespace=pod.namespace, pod=pod.name, uid=pod.uid)
        self._metrics.recovery_failures.labels("too-large").inc()

    def gone(self, uid: str) -> None:
        """
        Forget a Pod.
        """
        self.cases.pop(uid, None)
        self.restored.pop(uid, None)

    def all_listed(self, uids: frozenset[str]) -> None:
        """
        Forget all Pods but these.
        """
        for uid in (self.cases.keys() | self.restored.keys()) - uids:
            self.gone(uid)

    def _failing(
        self, pod: WatchedPod, before: Mapping[str, tuple[str, float]]
    ) -> dict[str, tuple[str, float]]:
        """
        Return since when each container fails.

        Between two attempts a container may wait for another reason for a moment; what counts is
        the first failure of this image.
        """
        now = self._clock()
        failing = {}
        for container in pod.waiting:
            known = before.get(container.name)
            if known is not None and known[0] == container.image:
                failing[container.name] = known
            elif container.failing:
                failing[container.name] = container.image, now
        return failing

    def _note_started(self, pod: WatchedPod, before: Case | None, *, listed: bool) -> None:
        waited = {c.name for c in before.pod.waiting} if before else set()
        for container in pod.started:
            project = project_of(container.image, self.rules)
            if project:
                self._evidence.started(
                    pod.node,
                    identity(container.image, container.record, self.rules),
                    project,
                    at=self._clock(),
                    proves=not listed,
                    pulled=container.always_pulled and container.name in waited,
                )
