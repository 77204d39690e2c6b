"""
How many Pods of opted-in namespaces pull through Harbor: counted now and then, kept nowhere.

The same pass finds what the watches don't show: a container that fails at a restart, or an
ephemeral one, in a Pod that runs and does not carry our label.
"""

import asyncio

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from msgspec import convert

from webhook.controller.pods import WaitingPods
from webhook.controller.watch import follow, one_pod
from webhook.errors import ClusterError
from webhook.image.rules import Rules
from webhook.kube.api import Kube
from webhook.kube.listing import Listing
from webhook.pod.model import REWRITTEN_LABEL, Pod
from webhook.pod.origin import Source, origins, source_of
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.waiting import PULL_FAILURES


__all__ = ["count_forever"]

_EVERY: Final = 300.0
_AT_FIRST: Final = 0.5
_LOOKS_AT_FIRST: Final = 20
_MOST_FOLLOWED: Final = 100
_PODS: Final = "/api/v1/pods"
_UNFINISHED: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
_STATUSES: Final = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")

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
    async with _followed(kube, pods) as found:
        for _ in range(_LOOKS_AT_FIRST):
            if namespaces():
                break
            await asyncio.sleep(_AT_FIRST)  # They are being listed at this moment.
        while True:
            try:
                counts = await _count(kube, rules(), namespaces(), found)
            except ClusterError as error:
                _log.warning("pods not counted", error=str(error))
            else:
                for source in Source:
                    metrics.pods.labels(source).set(counts[source])
            await asyncio.sleep(_EVERY)


async def _count(
    kube: Kube,
    rules: Rules,
    namespaces: frozenset[str],
    found: Callable[[Mapping[str, Any]], None],
) -> Counter[Source]:
    counts: Counter[Source] = Counter()
    if not namespaces:
        return counts
    async for pod in Listing(kube, _PODS, _UNFINISHED):
        if pod["metadata"]["namespace"] in namespaces:
            counts[source_of(origins(convert(pod, Pod), rules))] += 1
            if _fails_unseen(pod):
                found(pod)
    return counts


def _fails_unseen(pod: Mapping[str, Any]) -> bool:
    """
    Tell whether a container can't be pulled, and no watch shows that.
    """
    labels = pod["metadata"].get("labels") or {}
    status = pod.get("status") or {}
    if labels.get(REWRITTEN_LABEL) == "true" or status.get("phase") == "Pending":
        return False
    return any(
        ((each.get("state") or {}).get("waiting") or {}).get("reason") in PULL_FAILURES
        for name in _STATUSES
        for each in status.get(name) or ()
    )


@asynccontextmanager
async def _followed(
    kube: Kube, pods: WaitingPods
) -> AsyncIterator[Callable[[Mapping[str, Any]], None]]:
    """
    Give what follows one more Pod, for as long as it fails.
    """
    tasks: dict[str, asyncio.Task[None]] = {}

    def found(pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        uid = metadata["uid"]
        for other in [uid for uid in tasks if uid not in pods.cases]:
            tasks.pop(other).cancel()  # It runs, or is gone.
        if uid in tasks or len(tasks) >= _MOST_FOLLOWED:
            return
        view = pods.view(f"pod {uid}")
        view.seen(pod, listed=True)
        collection = one_pod(metadata["namespace"], metadata["name"])
        tasks[uid] = asyncio.create_task(follow(kube, collection, view))

    try:
        yield found
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
