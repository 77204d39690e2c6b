"""
Rescue at a real API server; the kubelet is played by writing the status of Pods.
"""

import asyncio
import os
import time

import pytest

from tests.support.kube.audit import audit_events
from tests.support.kube.controllers import Controller, Pods, config_for, eventually, started
from tests.support.kube.kubelet import kubelet
from tests.support.recovery_pods import running, waiting
from webhook.demo.standin.server import HarborStandIn
from webhook.demo.standin.thread import ThreadedStandIn


pytestmark = [pytest.mark.kube, pytest.mark.slow]

# Pods of ours that run meanwhile: OTHERS=20000 for whoever wants to see what they cost.
_OTHERS = int(os.environ.get("OTHERS", "0"))
_AT_ONCE = 32

LIMITED = "429 Too Many Requests - toomanyrequests: You have reached your pull rate limit"


@pytest.fixture
def harbor():
    with ThreadedStandIn(HarborStandIn(strict=False)) as running_harbor:
        yield running_harbor


@pytest.fixture
def controller(cluster, harbor, tmp_path):
    def make(pods, *arguments, **recovery):
        config = config_for(harbor.url, rescueAfter="1s", **recovery)
        # On a busy machine a slow answer must not make Harbor unavailable.
        config["probe"] = {"interval": "500ms", "timeout": "5s", "maxAge": "30s"}
        return Controller(tmp_path, cluster.kubeconfig(), pods.namespace, config, *arguments)

    return make


def only_harbor(pods):
    """
    Return what a kubelet says of images: only Harbor serves them.
    """
    return lambda image: "" if image.startswith(f"{pods.host}/") else LIMITED


async def all_run(pods):
    return all(pod["status"]["phase"] == "Running" for pod in await pods.list())


async def _crowd(pods, count):
    """
    Create Pods that run from Harbor.
    """
    numbers = iter(range(count))

    async def create():
        for number in numbers:
            name = f"runs-{number}"
            await pods.create(name, {"web": pods.cached()}, records={"web": "nginx:1"})
            await pods.report(name, [running("web", pods.cached())], phase="Running")

    await asyncio.gather(*(create() for _ in range(_AT_ONCE)))


def _calls(cluster, namespace):
    """
    Return how many requests about Pods of a namespace were the controller's.
    """
    events = audit_events(cluster, namespace)
    return sum(event.get("userAgent", "").startswith("harbor-cache/") for event in events)


async def test_300_pods_on_429(cluster, client, make_namespace, harbor, controller):
    """
    All are rescued, none is moved twice, and what does not run from Harbor is left as it is.
    """
    pods = Pods(client, await make_namespace("enforce"), harbor.url)
    others = Pods(client, await make_namespace(None), harbor.url)
    await _crowd(Pods(client, await make_namespace("enforce"), harbor.url), _OTHERS)
    await asyncio.gather(*(pods.create(f"web-{n}", {"web": "nginx:1"}) for n in range(300)))
    await others.create("web", {"web": "nginx:1"})
    async with (
        started(controller(pods, maxPatchesPerSecond=30)) as running_controller,
        kubelet(pods, only_harbor(pods), every=4.0) as tried,
        kubelet(others, only_harbor(others)),
    ):
        began = time.monotonic()
        await eventually(lambda: all_run(pods), seconds=300, every=1.0)
        took = time.monotonic() - began

        assert 300 == len(running_controller.events("container rescued"))
        assert {2} == {pod["metadata"]["generation"] for pod in await pods.list()}
        assert {("nginx:1", pods.cached())} == {tuple(images) for images in tried.values()}
        assert {"web": "nginx:1"} == await others.images("web")
        assert 300 == await running_controller.metric(
            "pods_recovered_total", cause="upstream-limited"
        )
        assert ["HarborCacheRescued"] == await pods.events("web-0")

        await pods.create("late", {"web": "nginx:2"})
        began = time.monotonic()
        await eventually(lambda: all_run(pods))
        print(
            f"300 Pods rescued in {took:.1f} s at 30 per second beside {_OTHERS:,} others, by"
            f" {_calls(cluster, pods.namespace) / 300:.2f} requests each; one more runs after"
            f" {time.monotonic() - began:.1f} s; the controller had at most"
            f" {running_controller.peak_bytes() / 2**20:.0f} MiB"
        )


async def test_a_namespace_in_audit_is_counted(client, make_namespace, harbor, controller):
    """
    What would be rescued can be seen before anyone enforces; and the label is followed at once.
    """
    name = await make_namespace("audit")
    pods = Pods(client, name, harbor.url)
    await pods.create("web", {"web": "nginx:1"})
    async with (
        started(controller(pods)) as running_controller,
        kubelet(pods, only_harbor(pods)),
    ):

        async def counted():
            return 1 == await running_controller.metric("pods_to_rescue", mode="audit")

        await eventually(counted)
        assert {"web": "nginx:1"} == await pods.images("web")

        labels = {"metadata": {"labels": {"harbor-cache.io/mode": "enforce"}}}
        path = f"/api/v1/namespaces/{name}"
        (await client.patch(path, labels, kind="merge-patch")).expect()

        await eventually(lambda: all_run(pods))
        assert {"web": pods.cached()} == await pods.images("web")


async def test_a_container_that_fails_at_a_restart(client, make_namespace, harbor, controller):
    """
    Its Pod runs, so no watch shows it: the census finds it, and follows it from there.
    """
    pods = Pods(client, await make_namespace("enforce"), harbor.url)
    await pods.create("web", {"stays": "nginx:1", "restarts": "nginx:2"})
    message = f'failed to pull image "nginx:2": {LIMITED}'

    async def report(reason):
        statuses = [running("stays", "nginx:1"), waiting("restarts", "nginx:2", reason, message)]
        await pods.report("web", statuses, phase="Running")

    await report("ImagePullBackOff")
    async with started(controller(pods)) as running_controller:
        await running_controller.leads()

        async def found():
            return (await running_controller.status())["recovery"]["waiting"]

        await eventually(found)
        await asyncio.sleep(2)
        assert {"stays": "nginx:1", "restarts": "nginx:2"} == await pods.images("web")

        async def rescued():
            await report("ErrImagePull")
            await asyncio.sleep(1)
            await report("ImagePullBackOff")
            images = await pods.images("web")
            return images == {"stays": "nginx:1", "restarts": pods.cached("library/nginx:2")}

        await eventually(rescued)


async def test_another_fence_rescues_nothing(client, make_namespace, harbor, controller):
    """
    Where the cluster's policy was rendered from other rules, the controller says so, and restores.
    """
    pods = Pods(client, await make_namespace("enforce"), harbor.url)
    await pods.create("direct", {"web": "nginx:1"})
    arguments = ("--tls-mode", "none", "--fence", "0" * 64)
    async with (
        started(controller(pods, *arguments)) as running_controller,
        kubelet(pods, only_harbor(pods)),
    ):
        await running_controller.leads()
        await asyncio.sleep(8)

        status = (await running_controller.status())["recovery"]
        assert "rendered from other rules" in status["rescue"]
        assert {"web": "nginx:1"} == await pods.images("direct")


@pytest.mark.parametrize("move", ["rescued", "restored"])
async def test_a_move_that_another_party_takes_back(
    client, make_namespace, harbor, controller, move
):
    """
    It was made once, is not planned again, and the Pod tells so.
    """
    pods = Pods(client, await make_namespace("enforce"), harbor.url)
    before, after = ("nginx:1", pods.cached()) if move == "rescued" else (pods.cached(), "nginx:1")
    records = None if move == "rescued" else {"web": "nginx:1"}
    async with (
        started(controller(pods, restoreAfter="1s")) as running_controller,
        kubelet(pods, lambda _: LIMITED, every=4.0),
    ):
        await running_controller.leads()
        await pods.create("web", {"web": before}, records=records)

        async def moved():
            return {"web": after} == await pods.images("web")

        await eventually(moved)
        back = {"spec": {"containers": [{"name": "web", "image": before}]}}
        (await client.patch(pods.path("web"), back, kind="strategic-merge-patch")).expect()

        async def told():
            return "HarborCacheNotRestored" in await pods.events("web")

        await eventually(told)
        moves = running_controller.events(f"container {move}")

    assert {"web": before} == await pods.images("web")
    assert 1 == len(moves)
