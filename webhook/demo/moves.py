"""
What the demo tells of recovery: a Pod that its upstream refuses, and one that Harbor fails.

The controller, the API server and the webhook are real; the kubelet of these two Pods is played,
by writing their status.
"""

import asyncio
import sys
import time

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from webhook.demo.askers import ThroughApiServer
from webhook.demo.cluster import Cluster, free_port
from webhook.demo.program import Program
from webhook.demo.samples import HARBOR, Sample
from webhook.demo.stage import DemoError, Stage, until_ready
from webhook.demo.standin import Fault


__all__ = ["tell_moves"]

_WITHIN: Final = 30.0
_EVERY: Final = 0.2
_PULLS_EVERY: Final = 2.0
_DIRECT: Final = "nginx"
_CACHED: Final = f"{HARBOR}/proxy.docker.io/library/nginx"
_LIMITED: Final = "429 Too Many Requests - toomanyrequests: You have reached your pull rate limit"
_REFUSED: Final = "dial tcp 192.0.2.1:443: connect: connection refused"

_SPEC: Final = {"nodeName": "node-1", "containers": [{"name": "web", "image": _DIRECT}]}
_POD: Final = Sample("waits", "enforce", _SPEC, {})


async def tell_moves(
    console: Console, stage: Stage, cluster: Cluster, asker: ThroughApiServer
) -> list[str]:
    """
    Tell of a rescue and of a restore on *console*; return what was not seen of them.
    """
    console.print("\n[bold]Pods that wait get out by themselves[/bold] (their kubelet is played)")
    try:
        async with _controller(stage, cluster):
            await _rescue(console, stage, asker)
            await _restore(console, stage, asker)
    except DemoError as error:
        return [str(error)]
    console.print("  Both are the Pods that they were, with the same UIDs.")
    return []


async def _rescue(console: Console, stage: Stage, asker: ThroughApiServer) -> None:
    await stage.harbor.set_fault(Fault.REFUSED)
    pod = await _created(asker, _DIRECT)
    console.print(f"  Harbor is away: a new Pod keeps {_DIRECT}.")
    async with _kubelet(asker, pod, {_DIRECT: _LIMITED, _CACHED: ""}):
        await _until("the Pod waits", lambda: _waits(asker, pod))
        console.print("  Docker Hub answers 429: the Pod waits with ErrImagePull.")
        await stage.harbor.set_fault(Fault.NONE)
        began = time.monotonic()
        await _moved(asker, pod, _CACHED, "HarborCacheRescued")
    console.print(
        f"  Harbor is back: {time.monotonic() - began:.0f} s later the Pod is rescued,"
        f"\n    now {_CACHED}, and runs."
    )


async def _restore(console: Console, stage: Stage, asker: ThroughApiServer) -> None:
    await _until("Harbor is back", lambda: _becomes(asker, _CACHED))
    pod = await _created(asker, _CACHED)
    console.print("  The next Pod is rewritten to Harbor, and Harbor dies: it waits.")
    await stage.harbor.set_fault(Fault.REFUSED)
    began = time.monotonic()
    async with _kubelet(asker, pod, {_CACHED: _REFUSED, _DIRECT: ""}):
        await _moved(asker, pod, _DIRECT, "HarborCacheRestored")
    console.print(
        f"  {time.monotonic() - began:.0f} s later the Pod is restored, now {_DIRECT}, and runs."
    )
    await stage.harbor.set_fault(Fault.NONE)


async def _created(asker: ThroughApiServer, image: str) -> dict[str, Any]:
    """
    Create Pods until one has *image*, and return that.
    """
    found: dict[str, Any] = {}

    async def becomes() -> bool:
        found.update((await asker.create(_POD)).pod)
        return _image(found) == image

    await _until(f"a new Pod has {image}", becomes)
    return found


async def _becomes(asker: ThroughApiServer, image: str) -> bool:
    return _image((await asker.create(_POD)).pod) == image


async def _waits(asker: ThroughApiServer, pod: dict[str, Any]) -> bool:
    return bool((await asker.read(pod))["status"].get("containerStatuses"))


async def _moved(asker: ThroughApiServer, pod: dict[str, Any], image: str, reason: str) -> None:
    """
    Wait until the same Pod runs with *image*, and an Event tells of it.
    """

    async def moved() -> bool:
        now = await asker.read(pod)
        return (
            now["metadata"]["uid"] == pod["metadata"]["uid"]
            and _image(now) == image
            and now["status"]["phase"] == "Running"
            and reason in await asker.events(pod)
        )

    await _until(f"the Pod runs with {image}, and the Event {reason} says so", moved)


def _image(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])


async def _until(what: str, check: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + _WITHIN
    while not await check():
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not within {_WITHIN:.0f} s")
        await asyncio.sleep(_EVERY)


@asynccontextmanager
async def _controller(stage: Stage, cluster: Cluster) -> AsyncIterator[None]:
    port = free_port()
    directory = Path(stage.config).parent
    command: list[str | Path] = [
        *(sys.executable, "-m", "webhook", "controller", f"--config={stage.config}"),
        *(f"--kubeconfig={cluster.kubeconfig()}", "--namespace=demo-unlabelled"),
        *("--tls-mode=none", "--host=127.0.0.1", f"--ops-port={port}"),
    ]
    with Program(command, log=directory / "controller.log") as program:
        await until_ready(program, f"http://127.0.0.1:{port}/readyz")
        yield


@asynccontextmanager
async def _kubelet(
    asker: ThroughApiServer, pod: dict[str, Any], answers: dict[str, str]
) -> AsyncIterator[None]:
    """
    Play the kubelet of *pod*; *answers* say by image why it can't be pulled, or nothing.
    """
    task = asyncio.create_task(_pull_forever(asker, pod, answers))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _pull_forever(
    asker: ThroughApiServer, pod: dict[str, Any], answers: dict[str, str]
) -> None:
    while True:
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            image = _image(await asker.read(pod))
            await asker.report(pod, _status(image, answers[image], reason))
            await asyncio.sleep(_PULLS_EVERY / 2)


def _status(image: str, why: str, reason: str) -> dict[str, Any]:
    message = f'failed to pull and unpack image "{image}": {why}'
    if reason == "ImagePullBackOff":
        message = f'Back-off pulling image "{image}": ErrImagePull: {message}'
    state: dict[str, Any] = {"waiting": {"reason": reason, "message": message}}
    if not why:
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    container = {
        "name": "web",
        "image": image,
        "imageID": "",
        "state": state,
        "restartCount": 0,
        **({} if why else {"containerID": "containerd://1", "started": True}),
        "ready": not why,
    }
    return {"phase": "Pending" if why else "Running", "containerStatuses": [container]}
