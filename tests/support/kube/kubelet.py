"""
A kubelet, played by writing the status of Pods: it tries to pull, fails, waits, and tries again.
"""

import asyncio

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.kube.controllers import Pods
from tests.support.recovery_pods import running, waiting


__all__ = ["kubelet"]

_AT_ONCE = 8


@asynccontextmanager
async def kubelet(
    pods: Pods, fails: Callable[[str], str], *, every: float = 2.0
) -> AsyncIterator[dict[str, list[str]]]:
    """
    Play the kubelet of all *pods* until the end of the context.

    A container's image is asked for *every* so many seconds; *fails* says why it can't be had, or
    returns an empty string: then the container runs.  Give the images of each Pod that were tried.
    """
    tried: dict[str, list[str]] = {}
    task = asyncio.create_task(_play(pods, fails, every, tried))
    try:
        yield tried
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def _play(
    pods: Pods, fails: Callable[[str], str], every: float, tried: dict[str, list[str]]
) -> None:
    limit = asyncio.Semaphore(_AT_ONCE)
    attempt = True
    while True:
        waiting_pods = [pod for pod in await pods.list() if pod["status"]["phase"] == "Pending"]
        await asyncio.gather(
            *(_report(pods, pod, fails, limit, tried, attempt=attempt) for pod in waiting_pods)
        )
        attempt = not attempt
        await asyncio.sleep(every / 2)


async def _report(
    pods: Pods,
    pod: dict,
    fails: Callable[[str], str],
    limit: asyncio.Semaphore,
    tried: dict[str, list[str]],
    *,
    attempt: bool,
) -> None:
    name = pod["metadata"]["name"]
    statuses = []
    for container in pod["spec"]["containers"]:
        image = container["image"]
        why = fails(image)
        if not why:
            statuses.append(running(container["name"], image))
            continue
        message = f'failed to pull and unpack image "{image}": {why}'
        reason = "ErrImagePull" if attempt else "ImagePullBackOff"
        if not attempt:
            message = f'Back-off pulling image "{image}": ErrImagePull: {message}'
        statuses.append(waiting(container["name"], image, reason, message))
    done = all("running" in status["state"] for status in statuses)
    images = [container["image"] for container in pod["spec"]["containers"]]
    if (attempt or done) and tried.setdefault(name, [])[-1:] != images[:1]:
        tried[name] += images[:1]
    async with limit:
        await pods.report(name, statuses, phase="Running" if done else "Pending")
