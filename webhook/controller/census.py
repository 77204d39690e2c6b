"""
How many Pods of opted-in namespaces pull through Harbor: counted now and then, kept nowhere.

The same pass finds what the watches don't show: a container that fails at a restart, or an
ephemeral one, in a Pod that runs and does not carry our label.
"""

import asyncio

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import structlog

from msgspec import convert

from webhook.controller.mistakes import tell_mistake
from webhook.controller.pods import WaitingPods
from webhook.controller.watch import follow, one_pod
from webhook.errors import ClusterError
from webhook.image.rules import Rules
from webhook.kube.api import Kube
from webhook.kube.listing import Listing
from webhook.pod.model import REWRITTEN_LABEL, Pod
from webhook.pod.origin import Source, original_of, origins, source_of
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.waiting import PULL_FAILURES


__all__ = ["Followed", "count_forever", "fails_unseen"]

_EVERY: Final = 300.0
_AT_FIRST: Final = 0.5
_LOOKS_AT_FIRST: Final = 20
_MOST_FOLLOWED: Final = 100
_PODS: Final = "/api/v1/pods"
_UNFINISHED: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
_EPHEMERAL: Final = "ephemeralContainerStatuses"
_STATUSES: Final = ("containerStatuses", "initContainerStatuses", _EPHEMERAL)

_log = structlog.get_logger()


async def count_forever(
    kube: Kube,
    rules: Callable[[], Rules],
    namespaces: Callable[[], frozenset[str]],
    pods: WaitingPods,
    metrics: ControllerMetrics,
) -> None:
    """
    Count, set the metric, and follow the Pods that fail at a restart.  Cancel to stop.

    Args:
        kube: where.
        rules: what leads to Harbor.
        namespaces: the names of those that have opted in.
        pods: what is told of Pods that fail.
        metrics: where the counts go.
    """
    async with Followed(kube, pods, metrics) as followed:
        for _ in range(_LOOKS_AT_FIRST):
            if namespaces():
                break
            await asyncio.sleep(_AT_FIRST)  # They are being listed at this moment.
        while True:
            try:
                counts = await _count(kube, rules(), namespaces(), followed.found, metrics)
            except ClusterError as error:
                _log.warning("pods not counted", error=str(error))
            except Exception:  # noqa: BLE001 -- It is tried again in a while.
                tell_mistake(metrics, "pods not counted")
            else:
                for source in Source:
                    metrics.pods.labels(source).set(counts[source])
            await asyncio.sleep(_EVERY)


async def _count(
    kube: Kube,
    rules: Rules,
    namespaces: frozenset[str],
    found: Callable[[Mapping[str, Any]], None],
    metrics: ControllerMetrics,
) -> Counter[Source]:
    counts: Counter[Source] = Counter()
    if not namespaces:
        return counts
    async for pod in Listing(kube, _PODS, _UNFINISHED):
        if pod["metadata"]["namespace"] not in namespaces:
            continue
        try:
            counts[source_of(origins(convert(pod, Pod), rules))] += 1
            if fails_unseen(pod, rules):
                found(pod)
        except Exception:  # noqa: BLE001 -- One Pod must not hide the others.
            tell_mistake(metrics, "pod not counted", uid=str(pod["metadata"].get("uid")))
    return counts


def fails_unseen(pod: Mapping[str, Any], rules: Rules) -> bool:
    """
    Tell whether a container can't be pulled, no watch shows that, and something follows from it.

    Nothing does of an ephemeral container that does not lead to Harbor: it is immutable.
    """
    labels = pod["metadata"].get("labels") or {}
    status = pod.get("status") or {}
    if labels.get(REWRITTEN_LABEL) == "true" or status.get("phase") == "Pending":
        return False
    ephemeral = {
        each["name"]
        for each in (pod.get("spec") or {}).get("ephemeralContainers") or ()
        if original_of(each.get("image") or "", rules.for_records)
    }
    return any(
        ((each.get("state") or {}).get("waiting") or {}).get("reason") in PULL_FAILURES
        and (name != _EPHEMERAL or each.get("name") in ephemeral)
        for name in _STATUSES
        for each in status.get(name) or ()
    )


class Followed:
    """
    Pods that are followed one by one, for as long as they fail; namespaces share the room.
    """

    def __init__(
        self, kube: Kube, pods: WaitingPods, metrics: ControllerMetrics, most: int = _MOST_FOLLOWED
    ) -> None:
        self._kube = kube
        self._pods = pods
        self._metrics = metrics
        self._most = most
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """
        Follow none yet.
        """
        return self

    async def __aexit__(self, *_: object) -> None:
        """
        Let all of them go.
        """
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def found(self, pod: Mapping[str, Any]) -> None:
        """
        Follow one more Pod; without room, in place of one of a namespace that has most of it.
        """
        metadata = pod["metadata"]
        namespace, uid = metadata["namespace"], metadata["uid"]
        for other in [key for key in self._tasks if key[1] not in self._pods.cases]:
            self._tasks.pop(other).cancel()  # It runs, or is gone.
        if (namespace, uid) in self._tasks:
            return
        if len(self._tasks) >= self._most:
            held = self.namespaces
            largest, count = held.most_common(1)[0]
            if held[namespace] + 1 >= count:
                return
            # The one that came last: the others have a history.
            last = next(key for key in reversed(self._tasks) if key[0] == largest)
            self._tasks.pop(last).cancel()
            self._pods.gone(last[1], _view(last[1]))
        view = self._pods.view(_view(uid))
        view.seen(pod, listed=True)
        collection = one_pod(namespace, metadata["name"])
        self._tasks[namespace, uid] = asyncio.create_task(
            follow(self._kube, collection, view, self._metrics)
        )

    @property
    def namespaces(self) -> Counter[str]:
        """
        Return how many Pods of each namespace are followed.
        """
        return Counter(namespace for namespace, _ in self._tasks)


def _view(uid: str) -> str:
    return f"pod {uid}"
