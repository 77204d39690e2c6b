"""
Kubernetes Events: what was done, where people look for it (`kubectl describe pod`).

An Event is never waited for: recovery goes on while they are written, and the last ones are
dropped where the API server can't keep up.
"""

import asyncio
import secrets

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from webhook.errors import ClusterError
from webhook.kube.api import Kube
from webhook.text import timestamp


__all__ = ["Events", "Subject"]

_MOST_WAITING: Final = 2000
_MAX_MESSAGE: Final = 1000
_COMPONENT: Final = "harbor-cache-controller"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Subject:
    """
    What an Event is about: a Pod, or a Node (which has no namespace).
    """

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""


class Events:
    """
    Takes Events without waiting, and writes them one after the other.
    """

    def __init__(self, kube: Kube, instance: str) -> None:
        self._kube = kube
        self._instance = instance
        self._waiting: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(_MOST_WAITING)

    def tell(self, subject: Subject, reason: str, message: str, *, warning: bool = False) -> None:
        """
        Take an Event about *subject*; *reason* is one CamelCase word, *message* for people.
        """
        # Events about objects without a namespace live in the default one, as kubectl expects.
        namespace = subject.namespace or "default"
        now = timestamp(datetime.now(UTC))
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{subject.name[:230]}.{secrets.token_hex(8)}",
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": subject.kind,
                "name": subject.name,
                "namespace": subject.namespace,
                "uid": subject.uid,
            },
            "reason": reason,
            "message": message[:_MAX_MESSAGE],
            "type": "Warning" if warning else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._instance,
        }
        try:
            self._waiting.put_nowait((f"/api/v1/namespaces/{namespace}/events", body))
        except asyncio.QueueFull:
            _log.warning("event dropped", reason=reason, subject=subject.name)

    async def run(self) -> None:
        """
        Write Events for ever.  Cancel to stop.
        """
        while True:
            path, body = await self._waiting.get()
            try:
                await self._kube.create(path, body)
            except ClusterError as error:
                _log.warning("event not written", reason=body["reason"], error=str(error))
