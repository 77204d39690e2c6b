"""
Recovery at a real API server; the kubelet is played by writing the status of Pods.
"""

import asyncio
import signal
import time

import pytest

from tests.support.kube.client import ApiClient
from tests.support.kube.controllers import (
    Controller,
    Pods,
    config_for,
    creating,
    eventually,
    running,
    started,
    waiting,
)
from tests.support.kube.kubelet import kubelet
from webhook.demo.standin.faults import Fault
from webhook.demo.standin.server import HarborStandIn
from webhook.demo.standin.thread import ThreadedStandIn


pytestmark = [pytest.mark.kube, pytest.mark.slow]


@pytest.fixture
def harbor():
    with ThreadedStandIn(HarborStandIn(strict=False)) as running_harbor:
        yield running_harbor


@pytest.fixture
async def pods(client, make_namespace, harbor):
    return Pods(client, await make_namespace("enforce"), harbor.url)


@pytest.fixture
def controller(cluster, pods, harbor, tmp_path):
    def make(*arguments, **recovery):
        config = config_for(harbor.url, **recovery)
        return Controller(tmp_path, cluster.kubeconfig(), pods.namespace, config, *arguments)

    return make


async def all_restored(pods, original="nginx:1"):
    return all(
        container["image"] == original
        for pod in await pods.list()
        for container in pod["spec"]["containers"]
    )


def patched_once(items):
    """
    Tell whether every Pod's spec was changed exactly once: the API server counts in `generation`.
    """
    return {2} == {pod["metadata"]["generation"] for pod in items}


def harbor_has_nothing(pods):
    """
    Return what a kubelet says of images: those of Harbor are not found, others are pulled.
    """
    return lambda image: "404 Not Found" if image.startswith(f"{pods.host}/") else ""


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.HANG, Fault.NOT_FOUND])
async def test_stuck_containers_are_put_back(harbor, pods, controller, fault):
    """
    Whatever way Harbor dies: waiting containers of every kind go back, and what runs is not touched.
    """
    image = pods.cached()
    await pods.stuck("plain")
    await pods.create(
        "mixed",
        {"runs": image, "waits": image},
        records={"runs": "nginx:1", "waits": "docker.io/nginx:1"},
    )
    await pods.report("mixed", [running("runs", image), waiting("waits", image)])
    sidecar = {"name": "side", "image": image, "restartPolicy": "Always"}
    for name, init in (("init", {"name": "first", "image": image}), ("sidecar", sidecar)):
        records = {init["name"]: "nginx:1", "web": "nginx:1"}
        await pods.create(name, {"web": image}, records=records, init=[init])
        await pods.report(
            name,
            [creating("web", image, "PodInitializing")],
            [waiting(init["name"], image, "ImagePullBackOff")],
        )
    harbor.set_fault(fault)

    async with started(controller()) as running_controller:

        async def restored():
            return await pods.images("sidecar") == {"side": "nginx:1", "web": image}

        await eventually(restored)
        await eventually(lambda: init_restored(pods, image))
        await eventually(lambda: mixed_restored(pods, image))

        await eventually(lambda: plain_restored(pods))
        assert 4 == await running_controller.metric(
            "pods_recovered_total", cause="project-unavailable"
        )

        async def told():
            return ["HarborCacheRestored"] == await pods.events("plain")

        await eventually(told)
        assert 4 == len(running_controller.events("container restored"))
        assert patched_once(await pods.list())


async def plain_restored(pods):
    return await pods.images("plain") == {"web": "nginx:1"}


async def init_restored(pods, image):
    return await pods.images("init") == {"first": "nginx:1", "web": image}


async def mixed_restored(pods, image):
    return await pods.images("mixed") == {"runs": image, "waits": "docker.io/nginx:1"}


async def test_nothing_happens_while_harbor_serves(harbor, pods, controller):
    """
    Right after a first failure, with Harbor up, nothing is restored; after restoreAfter it is.
    """
    async with started(controller(restoreAfter="10s")) as running_controller:
        await running_controller.leads()
        await pods.stuck("web")
        await asyncio.sleep(2)
        assert {"web": pods.cached()} == await pods.images("web")

        async with kubelet(pods, harbor_has_nothing(pods)):
            await eventually(lambda: all_restored(pods))

        assert 1 == await running_controller.metric("pods_recovered_total", cause="pull-fails")


async def test_records_that_prove_nothing(harbor, pods, controller):
    """
    Records that don't lead to Harbor's image are told once each; what leads elsewhere is not ours.
    """
    await pods.stuck("forged", image="nginx:missing", record="evil/x")
    await pods.stuck("aimed", record="evil/x")
    await pods.stuck("stale", image=pods.cached("library/nginx:2"))
    await pods.stuck("good")
    before = {name: await pods.images(name) for name in ("forged", "aimed", "stale")}
    harbor.stop()

    async with started(controller()) as running_controller:

        async def good_is_back():
            return await pods.images("good") == {"web": "nginx:1"}

        await eventually(good_is_back)
        await asyncio.sleep(3)

        assert before == {name: await pods.images(name) for name in before}
        assert 2 == await running_controller.metric(
            "recovery_failures_total", cause="record-mismatch"
        )

        async def told():
            return ["HarborCacheNotRestored"] == await pods.events("aimed")

        await eventually(told)
        assert [] == await pods.events("forged")


async def test_an_image_that_exists_nowhere(harbor, pods, controller):
    """
    It is restored, fails at its registry too, and is not sent to Harbor again for long.
    """
    await pods.stuck("web", image=pods.cached("library/nope:1"), record="nope:1")

    async with (
        started(controller(rescueAfter="2s")) as running_controller,
        kubelet(pods, lambda image: f"{image}: not found"),
    ):
        await eventually(lambda: all_restored(pods, "nope:1"))
        await asyncio.sleep(10)

        assert patched_once(await pods.list())
        assert 1 == len(running_controller.events("container restored"))
        assert 0 == await running_controller.metric(
            "recovery_failures_total", cause="record-mismatch"
        )


async def test_300_pods_at_the_configured_rate(harbor, pods, controller):
    """
    All are restored, no faster than configured, and no Pod is patched twice.
    """
    await asyncio.gather(*(pods.stuck(f"web-{number}") for number in range(300)))
    harbor.stop()

    async with started(controller(maxPatchesPerSecond=30)) as running_controller:
        await eventually(lambda: all_restored(pods), seconds=180, every=0.5)
        times = [event["timestamp"] for event in running_controller.events("container restored")]
        took = seconds_between(times[0], times[-1])
        print(f"300 Pods restored in {took:.1f} s at 30 per second")

        assert took >= 299 / 30
        assert 300 == len(times)
        assert patched_once(await pods.list())


def seconds_between(first, last):
    from datetime import datetime  # noqa: PLC0415

    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


async def test_killed_in_the_middle(start_cluster, harbor, tmp_path):
    """
    SIGKILL amid 100 restores, then a restart of the API server: all are restored, none twice.
    """
    cluster = await asyncio.to_thread(start_cluster)
    async with ApiClient(cluster) as client:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        (await client.create(namespace)).expect()
        pods = Pods(client, "shop", harbor.url)
        await asyncio.gather(*(pods.stuck(f"web-{number}") for number in range(100)))
        harbor.stop()
        config = config_for(harbor.url, maxPatchesPerSecond=20)
        first = Controller(tmp_path, cluster.kubeconfig(), "shop", config)
        async with started(first):

            async def some_restored():
                return len(first.events("container restored")) >= 20

            await eventually(some_restored)
            first.stop(signal.SIGKILL)
        before = len(first.events("container restored"))
        await asyncio.to_thread(cluster.stop_api_server)
        second = Controller(tmp_path, cluster.kubeconfig(), "shop", config)
        async with started(second):
            await asyncio.sleep(2)
            await asyncio.to_thread(cluster.start_api_server)
            await eventually(lambda: all_restored(pods), seconds=180, every=0.5)
            print(f"{before} of 100 before SIGKILL, the rest after the API server's restart")

            assert before < 100
            assert patched_once(await pods.list())


async def test_a_flapping_harbor(harbor, pods, controller):
    """
    The decision does not flap with Harbor: it settles for "unavailable", and no Pod is restored twice.
    """
    async with started(
        controller(afterUnavailable="5s", restoreAfter="60s")
    ) as running_controller:
        await running_controller.leads()
        await pods.stuck("web")
        flaps = 20
        for number in range(flaps):
            (harbor.start if number % 2 else harbor.stop)()
            await asyncio.sleep(1)
        changes = [
            event["state"]
            for event in running_controller.events("availability changed")
            if event.get("project") == "proxy.docker.io"
        ]
        print(f"{flaps} changes of Harbor, {len(changes)} changes of mind: {', '.join(changes)}")

        assert len(changes) <= flaps / 2
        assert len(running_controller.events("container restored")) <= 1
        assert {1, 2} >= {pod["metadata"]["generation"] for pod in await pods.list()}


async def test_a_restore_that_a_policy_refuses(cluster, client, harbor, pods, controller):
    """
    A policy that allows only Harbor's images refuses the restore: it is counted and not looped on.
    """
    name = f"only-harbor-{pods.namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": pods.namespace}
                },
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["pods"],
                    }
                ],
            },
            "validations": [
                {
                    "expression": f"object.spec.containers.all(c, c.image.startsWith('{pods.host}/'))"
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    await pods.stuck("web")
    root = "/apis/admissionregistration.k8s.io/v1"
    try:
        (await client.create(policy)).expect()
        (await client.create(binding)).expect()

        async def policy_works():
            path = f"{pods.path('web')}?dryRun=All"
            patch = [{"op": "replace", "path": "/spec/containers/0/image", "value": "nginx:1"}]
            return (await client.patch(path, patch, kind="json-patch")).status == 422

        await eventually(policy_works)
        harbor.stop()
        async with started(controller()) as running_controller:

            async def counted():
                return await running_controller.metric("recovery_failures_total", cause="refused")

            await eventually(counted)
            await asyncio.sleep(4)

            assert 1 == await counted()
            assert {"web": pods.cached()} == await pods.images("web")
    finally:
        await client.delete(f"{root}/validatingadmissionpolicybindings/{name}")
        await client.delete(f"{root}/validatingadmissionpolicies/{name}")


async def test_the_lease_is_handed_over(harbor, pods, controller):
    """
    Of two controllers one leads; when it stops, the other takes over without waiting.
    """
    async with started(controller()) as first:
        await first.leads()
        async with started(controller()) as second:

            async def knows_the_leader():
                return (await second.status())["leader"]

            await eventually(knows_the_leader)
            assert not (await second.status())["leading"]
            began = time.monotonic()

            assert 0 == await asyncio.to_thread(first.stop)

            await second.leads()
            print(f"handed over in {time.monotonic() - began:.1f} s")
            harbor.stop()
            await pods.stuck("web")
            await eventually(lambda: all_restored(pods))


async def test_quarantine(client, harbor, pods, controller):
    """
    What two nodes failed on is written down, outlives a restart, and once deleted stays deleted.
    """
    image = pods.cached("acme/private:1")
    path = f"/api/v1/namespaces/{pods.namespace}/configmaps/harbor-cache-webhook-quarantine"

    async def quarantined():
        answer = await client.request("GET", path)
        return "docker.io/acme/private:1" in (answer.body.get("data") or {}).get(
            "quarantine.json", ""
        )

    nothing = harbor_has_nothing(pods)
    async with started(controller()) as first, kubelet(pods, nothing):
        await pods.stuck("one", image=image, record="acme/private:1", node="node1")
        await eventually(lambda: all_restored(pods, "acme/private:1"))
        await asyncio.sleep(3)
        assert not await quarantined()

        await pods.stuck("two", image=image, record="acme/private:1", node="node2")
        await eventually(quarantined)
        assert 1 == await first.metric("quarantined_images")
        await asyncio.to_thread(first.stop)

    async with started(controller()) as second, kubelet(pods, nothing):
        await second.leads()

        async def known():
            return await second.metric("quarantined_images") == 1

        await eventually(known)
        item = await client.get(path)
        item["data"]["quarantine.json"] = ""
        (await client.request("PUT", path, item)).expect()
        await pods.stuck("three", image=image, record="acme/private:1", node="node1")
        await pods.stuck("four", image=image, record="acme/private:1", node="node2")
        await eventually(lambda: all_restored(pods, "acme/private:1"))

        async def dismissed():
            found = (await client.get(path))["data"]
            return "docker.io/acme/private:1" in found["ledger.json"].partition("dismissed")[2]

        await eventually(dismissed)
        assert not await quarantined()
