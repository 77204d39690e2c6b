"""
The webhook's certificates in the cluster: two Secrets, and ``caBundle`` of our own configuration.

What to write next is decided in `certs.rotation`; here it is read and written, each time on
condition that nobody else has written meanwhile.
"""

import asyncio
import base64
import binascii

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import structlog

from certs.authority import service_names
from certs.rotation import (
    Lifetimes,
    Observed,
    Rest,
    WriteAuthority,
    WriteBundle,
    WriteServing,
    next_step,
)
from webhook.errors import ClusterError
from webhook.kube.api import Kube
from webhook.process.metrics import ControllerMetrics


__all__ = ["CertificateKeeper", "Names"]

_LOOK_EVERY: Final = 10.0
"""
How often all three objects are read, in seconds: what someone emptied is repaired within 30 s.
"""

_AFTER_FAILURE: Final = 2.0
_MOST_STEPS: Final = 10
_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_CHANGED: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Names:
    """
    Which objects are ours.
    """

    namespace: str
    ca_secret: str
    tls_secret: str
    webhook_configuration: str
    service: str


class CertificateKeeper:
    """
    Keeps the webhook's certificates valid and trusted.
    """

    def __init__(
        self,
        kube: Kube,
        names: Names,
        metrics: ControllerMetrics,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        secrets = f"/api/v1/namespaces/{names.namespace}/secrets"
        self._kube = kube
        self._metrics = metrics
        self._lifetimes = lifetimes or Lifetimes()
        self._dns_names = service_names(names.service, names.namespace)
        self._ca_path = f"{secrets}/{names.ca_secret}"
        self._tls_path = f"{secrets}/{names.tls_secret}"
        self._configuration_path = f"{_CONFIGURATIONS}/{names.webhook_configuration}"
        self.problem = "the certificates have not been looked at yet"

    async def run(self) -> None:
        """
        Look, and repair or renew, for ever.  Cancel to stop.
        """
        while True:
            wait = _LOOK_EVERY
            try:
                rest = await self._settle()
                self.problem = ""
                soon = (rest.until - datetime.now(UTC)).total_seconds()
                wait = max(0.5, min(wait, soon))
            except ClusterError as error:
                if error.status not in _CHANGED:
                    _log.warning("certificates not kept", error=str(error))
                self.problem = str(error)
                wait = _AFTER_FAILURE
            await asyncio.sleep(wait)

    async def _settle(self) -> Rest:
        """
        Take one step after the other until there is none left.
        """
        for _ in range(_MOST_STEPS):
            # In this order: certs.rotation says why.
            configuration = await self._kube.get(self._configuration_path)
            serving = await self._kube.get(self._tls_path)
            authority = await self._kube.get(self._ca_path)
            observed = Observed(_data(authority), _data(serving), _bundles(configuration))
            step = next_step(
                observed,
                names=self._dns_names,
                lifetimes=self._lifetimes,
                now=datetime.now(UTC),
            )
            if isinstance(step, Rest):
                self._metrics.certificate_not_after.set(step.not_after.timestamp())
                return step
            if isinstance(step, WriteAuthority):
                await self._write(self._ca_path, authority, step.data)
            elif isinstance(step, WriteServing):
                await self._write(self._tls_path, serving, step.data)
            elif isinstance(step, WriteBundle):
                await self._publish(configuration, step.pem)
            _log.info("certificates", step=type(step).__name__, why=step.why)
        raise ClusterError("the certificates do not settle: does somebody else write them too?")

    async def _write(self, path: str, secret: dict[str, Any], data: Mapping[str, bytes]) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        # The resourceVersion that was read makes this a compare-and-swap.
        secret["data"] = {**(secret.get("data") or {}), **encoded}
        await self._kube.replace(path, secret)

    async def _publish(self, configuration: dict[str, Any], pem: bytes) -> None:
        """
        Write caBundle of each entry and nothing else, so that other writers' edits survive.
        """
        bundle = base64.b64encode(pem).decode()
        operations: list[dict[str, Any]] = []
        for index, webhook in enumerate(configuration.get("webhooks") or ()):
            path = f"/webhooks/{index}"
            client = f"{path}/clientConfig/caBundle"
            before = webhook["clientConfig"].get("caBundle")
            operations.append({"op": "test", "path": f"{path}/name", "value": webhook["name"]})
            if before is not None:
                operations.append({"op": "test", "path": client, "value": before})
            operations.append({"op": "add", "path": client, "value": bundle})
        await self._kube.json_patch(self._configuration_path, operations)


def _data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}


def _bundles(configuration: Mapping[str, Any]) -> list[bytes]:
    return [
        _decoded(webhook["clientConfig"].get("caBundle") or "")
        for webhook in configuration.get("webhooks") or ()
    ]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
