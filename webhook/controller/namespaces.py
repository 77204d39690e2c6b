"""
The mode of every namespace, as admission would have it: rescue goes where admission goes.
"""

import asyncio

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal

import structlog

from webhook.controller.mistakes import begun_again
from webhook.controller.watch import Collection, follow
from webhook.errors import ClusterError
from webhook.kube.api import Kube
from webhook.kube.listing import Head
from webhook.pod.model import MODE_LABEL
from webhook.process.metrics import ControllerMetrics
from webhook.survey.selectors import Installation, find_installation


__all__ = ["Namespaces"]

_OPTED_IN: Final = Collection(
    "namespaces",
    "/api/v1/namespaces",
    {"labelSelector": f"{MODE_LABEL} in (enforce,audit)"},
)
_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_LOOK_EVERY: Final = 60.0
_NEVER: Final = frozenset({"kube-system", "kube-node-lease"})

_log = structlog.get_logger()


class Namespaces:
    """
    The namespaces that have opted in, and which of them our webhook configuration leaves out.
    """

    def __init__(self, kube: Kube, configuration: str, metrics: ControllerMetrics) -> None:
        """
        Know nothing yet.

        Args:
            kube: where.
            configuration: the name of our MutatingWebhookConfiguration.
            metrics: where mistakes are counted.
        """
        self._metrics = metrics
        self._kube = kube
        self._path = f"{_CONFIGURATIONS}/{configuration}"
        self._installation = Installation({})
        self._labels: dict[str, Mapping[str, str]] = {}
        self._names: dict[str, str] = {}

    def mode(self, name: str) -> Literal["enforce", "audit", ""]:
        """
        Return the mode of a namespace; empty where it has not opted in, or is left out.
        """
        labels = self._labels.get(name)
        if labels is None or name in _NEVER:
            return ""
        label = labels.get(MODE_LABEL)
        if self._installation.entries and label not in self._installation.modes(
            {**labels, "kubernetes.io/metadata.name": name}
        ):
            return ""
        return "enforce" if label == "enforce" else "audit"

    @property
    def opted_in(self) -> frozenset[str]:
        """
        Return the names of all that have opted in.
        """
        return frozenset(self._labels)

    async def run(self) -> None:
        """
        Keep this up to date, for ever.  Cancel to stop.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self._kube, _OPTED_IN, self, self._metrics))
            group.create_task(
                begun_again("the webhook configuration", self._look_forever, self._metrics)
            )

    def seen(self, item: Mapping[str, Any], *, listed: bool) -> None:  # noqa: ARG002
        """
        Take a namespace as it is now.
        """
        metadata = item["metadata"]
        self._labels[metadata["name"]] = metadata.get("labels") or {}
        self._names[metadata["uid"]] = metadata["name"]

    def too_large(self, head: Head) -> None:
        """
        Leave a namespace alone that is too large to be looked at.
        """
        self.gone(head.uid)

    def gone(self, uid: str) -> None:
        """
        Take note that a namespace is gone, or has opted out.
        """
        name = self._names.pop(uid, "")
        if name not in self._names.values():  # Unless it has been made anew meanwhile.
            self._labels.pop(name, None)

    def all_listed(self, uids: frozenset[str]) -> None:
        """
        Forget all namespaces but these.
        """
        for uid in self._names.keys() - uids:
            self.gone(uid)

    async def _look_forever(self) -> None:
        while True:
            try:
                found = await self._kube.get(self._path)
                self._installation = find_installation([found])
            except ClusterError as error:
                # Where there is none, or it may not be read, labels alone have to do.
                if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
                    self._installation = Installation({})
                else:
                    _log.warning("webhook configuration not read", error=str(error))
            await asyncio.sleep(_LOOK_EVERY)
