"""
What is remembered of the Pods that wait: small, and forgotten with the Pod.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from webhook.image.rules import Rules
from webhook.kube.listing import Head
from webhook.pod.model import REWRITTEN_LABEL
from webhook.pod.origin import project_of
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Evidence, identity, refused_upstream
from webhook.recovery.ladder import Waits
from webhook.recovery.memory import PodMemory
from webhook.recovery.waiting import WatchedPod, watched_pod


__all__ = ["Case", "View", "WaitingPods"]

_MOST_TOLD: Final = 1000
_MOST_NODES: Final = 10_000

_log = structlog.get_logger()


@dataclass(slots=True)
class Case:
    """
    A Pod that waits for a pull, or was moved while it did.

    Attributes:
        pod: as it was last seen.
        memory: what decisions go by.
        views: the names of what shows it; a Pod that nothing shows any more is forgotten.
        told: what people were told about it.
        not_before: it has changed under our hands and is not patched before this time, in seconds.
        changes: how often in a row that was so.
    """

    pod: WatchedPod
    memory: PodMemory = field(default_factory=PodMemory)
    views: set[str] = field(default_factory=set)
    told: set[tuple[str, str]] = field(default_factory=set)
    not_before: float = 0.0
    changes: int = 0

    @property
    def labelled(self) -> bool:
        """
        Tell whether the Pod carries our label: it was rewritten, or rescued.
        """
        metadata = self.pod.reviewed.metadata
        return ((metadata and metadata.labels) or {}).get(REWRITTEN_LABEL) == "true"

    @property
    def moved(self) -> bool:
        """
        Tell whether any of its containers has been moved: then it is remembered while it runs, too.
        """
        return any(m.moves or m.taken_back for m in self.memory.containers.values())


class WaitingPods:
    """
    Keeps the Pods that wait, and hands what started on to the evidence.

    Attributes:
        rules: what rewrites, or did lately.
        waits: how long everything waits.
        cases: by the Pod's uid.
        started: by node, when a container was last seen to start there, in seconds.
    """

    def __init__(
        self,
        rules: Rules,
        evidence: Evidence,
        metrics: ControllerMetrics,
        clock: Callable[[], float],
        waits: Waits,
    ) -> None:
        self.rules = rules
        self.waits = waits
        self.cases: dict[str, Case] = {}
        self.started: dict[str, float] = {}
        self._evidence = evidence
        self._metrics = metrics
        self._clock = clock
        self._too_large: dict[str, float] = {}

    def __iter__(self) -> Iterator[Case]:
        return iter(list(self.cases.values()))

    def view(self, name: str) -> "View":
        """
        Return what takes in the Pods that a watch called *name* shows.
        """
        return View(self, name)

    def seen(self, item: Mapping[str, Any], *, listed: bool, view: str = "") -> None:
        """
        Take a Pod as it is now.

        Args:
            item: the Pod.
            listed: it was listed or read; else the API server has just told of this change.
            view: the name of the watch that shows it; empty for a Pod that was read.
        """
        pod = watched_pod(item)
        if pod is None:  # It is being deleted, or has finished: neither can be undone.
            self.cases.pop(item["metadata"]["uid"], None)
            return
        before = self.cases.get(pod.uid)
        if before is not None and pod.version < before.pod.version:
            return  # Another watch was quicker.
        self._note_started(pod, before, listed=listed)
        for found in refused_upstream(pod, self.rules):
            self._evidence.nowhere(found, self._clock())
        if before is None and not pod.waiting:
            return
        case = before or Case(pod)
        if view:
            case.views.add(view)
        case.pod = pod
        case.memory = case.memory.seen(pod, self._clock(), self.waits, changed=not listed)
        if pod.waiting or case.moved:
            self.cases[pod.uid] = case
        else:
            self.cases.pop(pod.uid, None)

    def too_large(self, head: Head) -> None:
        """
        Let go of a Pod that is too large to be looked at, and tell of it once.
        """
        self.cases.pop(head.uid, None)
        if head.uid in self._too_large:
            return
        _remember(self._too_large, head.uid, self._clock(), _MOST_TOLD)
        _log.warning("pod too large", namespace=head.namespace, pod=head.name, uid=head.uid)
        self._metrics.recovery_failures.labels("too-large").inc()

    def gone(self, uid: str, view: str = "") -> None:
        """
        Take note that a *view* does not show a Pod any more; without one, that it is gone.
        """
        case = self.cases.get(uid)
        if case is None:
            return
        case.views.discard(view)
        if not view or not case.views:
            del self.cases[uid]

    def all_listed(self, uids: frozenset[str], view: str) -> None:
        """
        Take note that a *view* shows these Pods, and no others.
        """
        for uid, case in list(self.cases.items()):
            if view in case.views and uid not in uids:
                self.gone(uid, view)

    def _note_started(self, pod: WatchedPod, before: Case | None, *, listed: bool) -> None:
        waited = {c.name: c for c in before.pod.waiting} if before else {}
        now = self._clock()
        for container in pod.started:
            last = waited.get(container.name)
            if last is not None and not listed:
                _remember(self.started, pod.node, now, _MOST_NODES)
            project = project_of(container.image, self.rules)
            if project:
                failed = last is not None and last.failing and last.names_image
                self._evidence.started(
                    pod.node,
                    identity(container.image, self.rules),
                    project,
                    at=now,
                    proves=not listed,
                    pulled=last is not None
                    and (container.always_pulled or (failed and last.image == container.image)),
                )


class View:
    """
    What one watch shows, for `webhook.controller.watch.follow`.
    """

    def __init__(self, pods: WaitingPods, name: str) -> None:
        self._pods = pods
        self._name = name

    def seen(self, item: Mapping[str, Any], *, listed: bool) -> None:
        """
        Take a Pod as it is now.
        """
        self._pods.seen(item, listed=listed, view=self._name)

    def too_large(self, head: Head) -> None:
        """
        Take note of a Pod that is too large to be looked at.
        """
        self._pods.too_large(head)

    def gone(self, uid: str) -> None:
        """
        Take note that this watch does not show a Pod any more.
        """
        self._pods.gone(uid, self._name)

    def all_listed(self, uids: frozenset[str]) -> None:
        """
        Take note that this watch shows these Pods, and no others.
        """
        self._pods.all_listed(uids, self._name)


def _remember(known: dict[str, float], key: str, value: float, most: int) -> None:
    """
    Put *value* at the end of *known*, and let the oldest go where there are too many.
    """
    known.pop(key, None)
    known[key] = value
    if len(known) > most:
        del known[next(iter(known))]
