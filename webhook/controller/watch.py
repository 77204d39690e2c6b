"""
A collection of the API server: listed once, and followed from there.
"""

import asyncio

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol

import structlog

from webhook.controller.mistakes import tell_mistake
from webhook.errors import ClusterError
from webhook.kube.api import Kube, backoff
from webhook.kube.listing import Head, Listing, watch
from webhook.pod.model import REWRITTEN_LABEL
from webhook.process.metrics import ControllerMetrics


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
    metrics: ControllerMetrics,
    pause: Callable[[int], float] = backoff,
) -> None:
    """
    Tell *handler* about a whole collection, for ever.  Cancel to stop.

    A watch that ends is resumed where it ended; only where the API server has forgotten that
    version, or after a mistake of ours, everything is listed again.  An object at which *handler*
    raises is passed over.
    """
    version, failures = "", 0
    while True:
        try:
            if not version:
                version = await _list(kube, collection, handler, metrics)
            async for change in watch(kube, collection.path, version, collection.query):
                failures = 0
                version = change.head.version or version
                if change.kind == "DELETED":
                    handler.gone(change.head.uid)
                elif change.item is None:
                    handler.too_large(change.head)
                elif change.kind != "BOOKMARK":
                    # Nobody knows how old the state is of what has come into the selection.
                    listed = change.kind == "ADDED"
                    _tell(handler, change.item, collection, metrics, listed=listed)
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
        except Exception:  # noqa: BLE001 -- Nothing that a cluster holds may make us blind.
            version = ""
            failures += 1
            tell_mistake(metrics, "not followed, and listed again", what=collection.name)
            await asyncio.sleep(pause(failures))


def _tell(
    handler: Handler,
    item: Mapping[str, Any],
    collection: Collection,
    metrics: ControllerMetrics,
    *,
    listed: bool,
) -> None:
    try:
        handler.seen(item, listed=listed)
    except Exception:  # noqa: BLE001 -- One object must not keep us from seeing the others.
        uid = str(item["metadata"].get("uid"))
        tell_mistake(metrics, "object passed over", what=collection.name, uid=uid)


async def _list(
    kube: Kube, collection: Collection, handler: Handler, metrics: ControllerMetrics
) -> str:
    uids = set()
    listing = Listing(kube, collection.path, collection.query, too_large=handler.too_large)
    async for item in listing:
        uids.add(item["metadata"]["uid"])
        _tell(handler, item, collection, metrics, listed=True)
    handler.all_listed(frozenset(uids))
    _log.info("listed", what=collection.name, count=len(uids))
    return listing.version
