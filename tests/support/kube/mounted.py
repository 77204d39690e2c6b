"""
A mounted Secret with a serving pair, as the kubelet keeps it, and loops beside a test.
"""

import asyncio
import base64

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from certs.bundle import Pair
from tests.support.kube.client import ApiClient
from tests.support.kube.webhook import WebhookProcess


__all__ = ["MountedPair", "in_background"]


class MountedPair:
    """
    Copies the serving Secret at *path* into the webhook's files, and remembers what it copied.
    """

    def __init__(self, client: ApiClient, path: str, webhook: WebhookProcess) -> None:
        self._client = client
        self._path = path
        self._files = {"tls.crt": webhook.certificate_file, "tls.key": webhook.key_file}
        self._copied: dict[str, str] | None = None
        self.pairs: set[int] = set()
        self.authorities: set[bytes] = set()

    async def run(self) -> None:
        while True:
            data = (await self._client.request("GET", self._path)).body.get("data") or {}
            if data and data != self._copied:
                self._copy({key: base64.b64decode(data[key]) for key in self._files})
                self._copied = data
            await asyncio.sleep(0.3)

    def _copy(self, data: dict[str, bytes]) -> None:
        for key, file in self._files.items():
            fresh = file.with_suffix(f"{file.suffix}.new")
            fresh.write_bytes(data[key])
            fresh.replace(file)
        certificate = Pair.parse(data["tls.crt"], data["tls.key"]).certificate
        self.pairs.add(certificate.serial_number)
        self.authorities.add(certificate.issuer.public_bytes())


@asynccontextmanager
async def in_background(
    *loops: Coroutine[Any, Any, None],
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """
    Run endless loops until the end of the context; one of them that has ended is done.
    """
    tasks = [asyncio.create_task(each) for each in loops]
    try:
        yield tasks
    finally:
        for each in tasks:
            each.cancel()
        for each in tasks:
            with suppress(asyncio.CancelledError):
                await each
