"""
Pods that are created without pause, and what becomes of them.
"""

import asyncio
import re
import time

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.kube.client import ApiClient


__all__ = ["Creations", "constant_creation", "fail_open_count"]

_CREATORS = 2
_IMAGE = "nginx:1"


@dataclass
class Creations:
    """
    How many Pods were accepted, refused, or missed (accepted as they were); the longest in seconds.
    """

    accepted: int = 0
    refused: int = 0
    missed: int = 0
    longest: float = 0.0


@asynccontextmanager
async def constant_creation(
    client: ApiClient, namespace: str, *, dry_run: bool = False
) -> AsyncIterator[Creations]:
    """
    Create Pods for as long as the context lasts; no creation is cut off at its end.

    With *dry_run* none is kept, so that there is nothing to delete.
    """
    seen = Creations()
    done = asyncio.Event()

    async def create(creator: int) -> None:
        number = 0
        while not done.is_set():
            number += 1
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"pod-{creator}-{number}", "namespace": namespace},
                "spec": {"containers": [{"name": "web", "image": _IMAGE}]},
            }
            started = time.monotonic()
            answer = await client.create(pod, dry_run=dry_run)
            seen.longest = max(seen.longest, time.monotonic() - started)
            seen.accepted += answer.ok
            seen.refused += not answer.ok
            seen.missed += answer.ok and answer.body["spec"]["containers"][0]["image"] == _IMAGE

    creators = [asyncio.create_task(create(each)) for each in range(_CREATORS)]
    try:
        yield seen
    finally:
        done.set()
        await asyncio.gather(*creators)


async def fail_open_count(client: ApiClient) -> float:
    """
    Return how often the API server let an object through since a webhook gave no usable answer.
    """
    found = re.findall(
        r"^apiserver_admission_webhook_fail_open_count\{[^}]*\} (\S+)$",
        await client.get("/metrics"),
        re.MULTILINE,
    )
    return sum(map(float, found))
