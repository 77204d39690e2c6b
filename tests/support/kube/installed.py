"""
A default install of the chart at a real API server, without helm, and its controller's own token.
"""

import asyncio
import time

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.helm import HARBOR, NAMESPACE, render
from tests.support.kube.client import ApiClient, object_path
from webhook.demo.cluster import Cluster


__all__ = ["NAME", "controller_token", "installed", "wait_for_fence", "without_hooks"]

NAME = "harbor-cache-webhook"
_CONTROLLER = f"{NAME}-controller"
_SETTLES = 1.5  # Seconds; an API server looks once a second which policies there are.


def without_hooks(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        item for item in objects if "helm.sh/hook" not in item["metadata"].get("annotations", {})
    ]


@asynccontextmanager
async def installed(
    client: ApiClient, *arguments: str, more: list[dict[str, Any]] | None = None
) -> AsyncIterator[list[dict[str, Any]]]:
    """
    Apply what the chart renders with *arguments*, and *more* objects; on exit they are deleted.
    """
    objects = without_hooks(render(*HARBOR, *arguments)) + (more or [])
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    for item in (namespace, *objects):
        (await client.apply(item)).expect()
    yield objects
    for item in reversed(objects):
        await client.delete(object_path(item))


async def controller_token(client: ApiClient) -> str:
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{_CONTROLLER}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return (await client.request("POST", path, request)).expect()["status"]["token"]


@asynccontextmanager
async def controller(client: ApiClient, cluster: Cluster) -> AsyncIterator[ApiClient]:
    """
    Yield a client with the controller's own token.
    """
    async with ApiClient(cluster, token=await controller_token(client)) as opened:
        yield opened


async def wait_for_fence(
    controller: ApiClient, path: str, said: str, patch: dict[str, Any] | None = None
) -> None:
    """
    Wait until the API server refuses *patch*, or a label, with what was *said*: it takes a moment.

    And until it has done so for a while: right after another test it may still be the fence of that
    one, which is about to go.
    """
    patch = patch or {"metadata": {"labels": {"fenced": "no"}}}
    deadline = time.monotonic() + 30
    since = None
    while time.monotonic() < deadline:
        answer = await controller.patch(path, patch, dryRun="All", fieldManager="harbor-cache")
        now = time.monotonic()
        if answer.status == 422 and said in answer.body["message"]:
            since = now if since is None else since
            if now - since > _SETTLES:
                return
        else:
            since = None
        await asyncio.sleep(0.1)
    raise TimeoutError(f"no fence stands around {path}: {answer.body}")
