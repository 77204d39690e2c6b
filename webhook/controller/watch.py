"""
A collection of the API server: listed once, and followed from there.
"""

import asyncio

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol

import structlog

from webhook.errors import ClusterError
from webhook.kube.api import Kube, backoff
from webhook.kube.listing import Head, Listing, watch
from webhook.pod.model import REWRITTEN_LABEL


__all__ = ["LABELLED", "PENDING", "Collection", "Handler", "follow", "one_pod"]

_BETWEEN_WATCHES: Final = 0.1  # Seconds, should a watch end as soon as it begins.

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Collection:
    """
    What is followed: a name for people, the path, and selectors.
    """

    name: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)


LABELLED: Final = Collection(
    "rewritten pods", "/api/v1/pods", {"labelSelector": f"{REWRITTEN_LABEL}=true"}
)
"""
The Pods that admission rewrote, or a rescue: restores look among them.
"""

PENDING: Final = Collection(
    "pending pods", "/api/v1/pods", {"fieldSelector": "status.phase=Pending,spec.nodeName!="}
)
"""
The Pods that a node has and that do not run yet: rescues look among them.  The API server serves
this selection from its cache; a Pod that runs leaves it as if it had been deleted.
"""


def one_pod(namespace: str, name: str) -> Collection:
    """
    Return the collection that holds one Pod.
    """
    path = f"/api/v1/namespaces/{namespace}/pods"
    return Collection("a pod", path, {"fieldSelector": f"metadata.name={name}"})


class Handler(Protocol):
    """
    What is told about a collection; it keeps of each object what it needs.
    """

    def seen(self, item: Mapping[str, Any], *, listed: bool) -> None:
        """
        Take an object as it is now: from a list (*listed*), or because it has changed.
        """

    def too_large(self, head: Head) -> None:
        """
        Take note that an object is too large to be looked at.
        """

    def gone(self, uid: str) -> None:
        """
        Take note that an object is gone, or no longer selected.
        """

    def all_listed(self, uids: frozenset[str]) -> None:
        """
        Take note that a list is complete: every object that is not in it is gone.
        """


async def follow(
    kube: Kube,
    collection: Collection,
    handler: Handler,
    pause: Callable[[int], float] = backoff,
) -> None:
    """
    Tell *handler* about a whole collection, for ever.  Cancel to stop.

    A watch that ends is resumed where it ended; only where the API server has forgotten that
    version everything is listed again.
    """
    version, failures = "", 0
    while True:
        try:
            if not version:
                version = await _list(kube, collection, handler)
            async for change in watch(kube, collection.path, version, collection.query):
                failures = 0
                version = change.head.version or version
                if change.kind == "DELETED":
                    handler.gone(change.head.uid)
                elif change.item is None:
                    handler.too_large(change.head)
                elif change.kind != "BOOKMARK":
                    # Nobody knows how old the state is of what has come into the selection.
                    handler.seen(change.item, listed=change.kind == "ADDED")
            await asyncio.sleep(_BETWEEN_WATCHES)
        except ClusterError as error:
            if error.status == HTTPStatus.GONE:
                version = ""
            failures += 1
            wait = pause(failures)
            _log.warning(
                "not followed",
                what=collection.name,
                error=str(error),
                again_in=round(wait, 1),
            )
            await asyncio.sleep(wait)


async def _list(kube: Kube, collection: Collection, handler: Handler) -> str:
    uids = set()
    listing = Listing(kube, collection.path, collection.query, too_large=handler.too_large)
    async for item in listing:
        uids.add(item["metadata"]["uid"])
        handler.seen(item, listed=True)
    handler.all_listed(frozenset(uids))
    _log.info("listed", what=collection.name, count=len(uids))
    return listing.version
