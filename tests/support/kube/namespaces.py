"""
Namespaces for one test, with the label that switches the webhook on.
"""

import asyncio
import secrets
import time

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from tests.support.kube.client import ApiClient


__all__ = ["MakeNamespace", "namespaces"]


class MakeNamespace(Protocol):
    """
    Makes a namespace and returns its name; `mode` is `enforce`, `audit` or nothing.
    """

    def __call__(
        self, mode: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Awaitable[str]: ...


@asynccontextmanager
async def namespaces(client: ApiClient, *, service_accounts: bool) -> AsyncIterator[MakeNamespace]:
    """
    Yield a function that makes namespaces; on exit they are deleted.

    Where `service_accounts` matter, a namespace is ready when it has its default one.
    """
    made: list[str] = []

    async def make(mode: str | None = None, labels: Mapping[str, str] | None = None) -> str:
        labels = dict(labels or {}) | ({"harbor-cache.io/mode": mode} if mode else {})
        name = f"test-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": labels}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        (await client.create(namespace)).expect()
        made.append(name)
        if service_accounts:
            await _wait_for_account(client, name)
        return name

    try:
        yield make
    finally:
        for name in made:
            # With no controller manager a namespace stays "Terminating"; what matters is its Pods.
            await client.delete(f"/api/v1/namespaces/{name}/pods")
            await client.delete(f"/api/v1/namespaces/{name}")


async def _wait_for_account(client: ApiClient, namespace: str) -> None:
    deadline = time.monotonic() + 30
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    while not (await client.request("GET", path)).ok:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{namespace} has no default ServiceAccount.")
        await asyncio.sleep(0.1)
