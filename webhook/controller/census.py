"""
How many Pods of opted-in namespaces pull through Harbor: counted now and then, kept nowhere.
"""

import asyncio

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from webhook.errors import ClusterError
from webhook.image.rules import Rules
from webhook.kube.api import Kube
from webhook.pod.model import MODE_LABEL, RECORD_PREFIX
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.restore import project_of


__all__ = ["STATES", "count_forever", "pod_state"]

STATES: Final = ("cached", "direct", "restored")

_EVERY: Final = 300.0
_NAMESPACES: Final = "/api/v1/namespaces"
_PODS: Final = "/api/v1/pods"
_OPTED_IN: Final = {"labelSelector": f"{MODE_LABEL} in (enforce,audit)"}
_UNFINISHED: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}

_log = structlog.get_logger()


def pod_state(pod: Mapping[str, Any], rules: Rules) -> str:
    """
    Return ``cached`` (an image comes from Harbor), ``restored`` (one was put back), or ``direct``.
    """
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    spec = pod.get("spec") or {}
    state = "direct"
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        image = container.get("image") or ""
        if annotations.get(RECORD_PREFIX + container.get("name", "")) == image:
            return "restored"
        if project_of(image, rules):
            state = "cached"
    return state


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
            for state in STATES:
                metrics.pods.labels(state).set(counts[state])
        await asyncio.sleep(_EVERY)


async def _count(kube: Kube, rules: Rules) -> Counter[str]:
    namespaces: set[str] = set()
    async for page in kube.pages(_NAMESPACES, _OPTED_IN):
        namespaces.update(namespace["metadata"]["name"] for namespace in page)
    counts: Counter[str] = Counter()
    if not namespaces:
        return counts
    async for page in kube.pages(_PODS, _UNFINISHED):
        for pod in page:
            if pod["metadata"]["namespace"] in namespaces:
                counts[pod_state(pod, rules)] += 1
        await asyncio.sleep(0)  # Health must be answered meanwhile.
    return counts
