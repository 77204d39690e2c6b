"""
The Pods that carry our label: listed once, and followed from there.
"""

import asyncio

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import structlog

from webhook.errors import ClusterError
from webhook.kube.api import Kube, backoff
from webhook.kube.listing import Head, Listing, watch
from webhook.pod.model import REWRITTEN_LABEL


__all__ = ["PodHandler", "follow_pods"]

_PODS: Final = "/api/v1/pods"
_SELECTOR: Final = {"labelSelector": f"{REWRITTEN_LABEL}=true"}
_GONE: Final = 410
_BETWEEN_WATCHES: Final = 0.1  # Seconds, should a watch end as soon as it begins.

_log = structlog.get_logger()


class PodHandler(Protocol):
    """
    What is told about Pods; it keeps of each what it needs.
    """

    def seen(self, pod: Mapping[str, Any], *, listed: bool) -> None:
        """
        Take a Pod as it is now: from a list (*listed*), or because it has changed.
        """

    def too_large(self, pod: Head) -> None:
        """
        Take note that a Pod is too large to be looked at.
        """

    def gone(self, uid: str) -> None:
        """
        Take note that a Pod is gone, or carries our label no more.
        """

    def all_listed(self, uids: frozenset[str]) -> None:
        """
        Take note that a list is complete: every Pod that is not in it is gone.
        """


async def follow_pods(
    kube: Kube, handler: PodHandler, pause: Callable[[int], float] = backoff
) -> None:
    """
    Tell *handler* about all our Pods, for ever.  Cancel to stop.

    A watch that ends is resumed where it ended; only where the API server has forgotten that
    version everything is listed again.
    """
    version, failures = "", 0
    while True:
        try:
            if not version:
                version = await _list(kube, handler)
            async for change in watch(kube, _PODS, version, _SELECTOR):
                failures = 0
                version = change.head.version or version
                if change.kind == "DELETED":
                    handler.gone(change.head.uid)
                elif change.item is None:
                    handler.too_large(change.head)
                elif change.kind != "BOOKMARK":
                    handler.seen(change.item, listed=False)
            await asyncio.sleep(_BETWEEN_WATCHES)
        except ClusterError as error:
            if error.status == _GONE:
                version = ""
            failures += 1
            wait = pause(failures)
            _log.warning("pods not followed", error=str(error), again_in=round(wait, 1))
            await asyncio.sleep(wait)


async def _list(kube: Kube, handler: PodHandler) -> str:
    uids = set()
    listing = Listing(kube, _PODS, _SELECTOR, too_large=handler.too_large)
    async for pod in listing:
        uids.add(pod["metadata"]["uid"])
        handler.seen(pod, listed=True)
    handler.all_listed(frozenset(uids))
    _log.info("pods listed", pods=len(uids))
    return listing.version
