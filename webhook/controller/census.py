"""
How many Pods of opted-in namespaces pull through Harbor: counted now and then, kept nowhere.
"""

import asyncio

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from msgspec import convert

from webhook.errors import ClusterError
from webhook.image.rules import Rules
from webhook.kube.api import Kube
from webhook.kube.listing import Listing
from webhook.pod.model import MODE_LABEL, Pod
from webhook.pod.origin import Source, origins, source_of
from webhook.process.metrics import ControllerMetrics


__all__ = ["count_forever"]

_EVERY: Final = 300.0
_NAMESPACES: Final = "/api/v1/namespaces"
_PODS: Final = "/api/v1/pods"
_OPTED_IN: Final = {"labelSelector": f"{MODE_LABEL} in (enforce,audit)"}
_UNFINISHED: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}

_log = structlog.get_logger()


async def count_forever(
    kube: Kube, rules: Callable[[], Rules], metrics: ControllerMetrics
) -> None:
    """
    Count, and set the metric.  Cancel to stop.
    """
    while True:
        try:
            counts = await _count(kube, rules())
        except ClusterError as error:
            _log.warning("pods not counted", error=str(error))
        else:
            for source in Source:
                metrics.pods.labels(source).set(counts[source])
        await asyncio.sleep(_EVERY)


async def _count(kube: Kube, rules: Rules) -> Counter[Source]:
    opted_in = Listing(kube, _NAMESPACES, _OPTED_IN)
    namespaces = {namespace["metadata"]["name"] async for namespace in opted_in}
    counts: Counter[Source] = Counter()
    if not namespaces:
        return counts
    async for pod in Listing(kube, _PODS, _UNFINISHED):
        if pod["metadata"]["namespace"] in namespaces:
            counts[source_of(origins(convert(pod, Pod), rules))] += 1
    return counts
