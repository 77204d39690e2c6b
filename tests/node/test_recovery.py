"""
Pods that wait for a pull on a real node, restored in place.
"""

import asyncio
import statistics
import time

from datetime import datetime

import pytest

from tests.support.kube.controllers import eventually, started
from tests.support.node.site import PROJECT, Breakage
from tests.support.node.workloads import (
    container_image,
    container_statuses,
    every_kind,
    is_running,
    is_stuck,
    pod,
    pods,
    wait_for_pods,
)
from webhook.demo.standin import Fault


pytestmark = [pytest.mark.node, pytest.mark.slow]

_AFTER_UNAVAILABLE = 2.0


@pytest.fixture
def failing_pulls(site):
    """
    Let pulls through Harbor fail in a way while its probes are well; undone after the test.
    """

    def fail(fault=Fault.NOT_FOUND):
        if fault is Fault.NONE:
            site.harbor.harbor.pull_faults.pop(PROJECT, None)
        else:
            site.harbor.harbor.pull_faults[PROJECT] = fault

    yield fail
    fail(Fault.NONE)


_STUCK_PODS = 3 + 8


def _restarts(found):
    return {status["restartCount"] for each in found for status in container_statuses(each)}


async def _running_times(client, namespace, count, within):
    """
    Return by Pod when it was first seen to run, in seconds since 1970, once all do.
    """
    seen = {}
    deadline = time.monotonic() + within
    while len(seen) < count:
        assert time.monotonic() < deadline, await pods(client, namespace)
        for each in await pods(client, namespace):
            if is_running(each):
                seen.setdefault(each["metadata"]["name"], time.time())
        await asyncio.sleep(0.1)
    return seen


def _judged_down(controller):
    [event] = [
        event
        for event in controller.events("availability changed")
        if event.get("project") == PROJECT and event["state"] == "unavailable"
    ]
    return datetime.fromisoformat(event["timestamp"]).timestamp()


@pytest.mark.parametrize("breakage", Breakage)
async def test_stuck_pods_run_again(  # noqa: PLR0917 - fixtures.
    site, client, make_namespace, make_controller, failing_pulls, breakage
):
    """
    Pods of every kind that wait when Harbor dies run again: the same Pods, with no restart.
    """
    namespace, image, other = await make_namespace("enforce"), site.push(), site.push("other")
    (await client.create(pod(namespace, other, "bystander"))).expect()
    await wait_for_pods(client, namespace, is_running)
    failing_pulls()
    both = pod(namespace, other, "mixed")
    both["spec"]["containers"].append({"name": "waits", "image": image})
    (await client.create(both)).expect()
    for each in every_kind(namespace, image):
        (await client.create(each)).expect()
    count = _STUCK_PODS + 2

    def waits(each):
        return is_stuck(each) or each["metadata"]["name"] == "bystander"

    before = await wait_for_pods(client, namespace, waits, count=count, within=150)
    (
        await client.patch(
            f"/apis/batch/v1/namespaces/{namespace}/cronjobs/cronjob",
            {"spec": {"suspend": True}},
            kind="merge-patch",
        )
    ).expect()
    running_before = {
        (each["metadata"]["name"], status["name"]): status["containerID"]
        for each in before
        for status in container_statuses(each)
        if "running" in status["state"]
    }
    async with started(
        make_controller(afterUnavailable="2s", restoreAfter="1h", maxPatchesPerSecond=50)
    ) as running_controller:
        await running_controller.leads()

        async def judged():
            return (await running_controller.status())["projects"][PROJECT]["state"] == "available"

        await eventually(judged)
        site.break_harbor(breakage)
        times = await _running_times(client, namespace, count, 120)
        down = _judged_down(running_controller)
        delays = [at - down for name, at in times.items() if name != "bystander"]
        print(
            f"{breakage.name}: from 'Harbor judged down' to Running: median"
            f" {statistics.median(delays):.1f} s, most {max(delays):.1f} s, of {len(delays)} Pods"
            f" ({_AFTER_UNAVAILABLE:g} s of it afterUnavailable)"
        )
        after = await pods(client, namespace)
        recovered = await running_controller.metric(
            "pods_recovered_total", cause="project-unavailable"
        )

    assert {e["metadata"]["uid"] for e in before} == {e["metadata"]["uid"] for e in after}
    assert {0} == _restarts(after)
    running_after = {
        (each["metadata"]["name"], status["name"]): status["containerID"]
        for each in after
        for status in container_statuses(each)
        if "running" in status["state"]
    }
    assert running_before.items() <= running_after.items()
    assert ("mixed", "web") in running_before
    assert recovered >= count - 1


async def test_a_private_image(site, client, make_namespace, make_controller, failing_pulls):
    """
    An image that Harbor can't serve while it is up: restored, and then left alone.
    """
    namespace = await make_namespace("enforce")
    private, public = site.push("private"), site.push("public")
    path = "/api/v1/namespaces/default/configmaps/harbor-cache-webhook-quarantine"
    async with started(make_controller(restoreAfter="5s")) as running_controller:
        await running_controller.leads()
        failing_pulls(Fault.UNAUTHORIZED)
        (await client.create(pod(namespace, private, "private"))).expect()
        began = time.monotonic()
        found = await wait_for_pods(client, namespace, is_running)
        print(f"a private image runs after {time.monotonic() - began:.1f} s (restoreAfter 5 s)")
        assert container_image(found[0]) == private
        assert {0} == _restarts(found)
        assert 1 == await running_controller.metric("pods_recovered_total", cause="pull-fails")

        # The node shows that it can pull from Harbor; in the first hour of a controller that takes
        # an image that is certainly asked for.
        failing_pulls(Fault.NONE)
        shown = pod(namespace, public, "public")
        shown["spec"]["containers"][0]["imagePullPolicy"] = "Always"
        (await client.create(shown)).expect()
        await wait_for_pods(client, namespace, is_running, count=2)

        async def quarantined():
            answer = await client.request("GET", path)
            text = (answer.body.get("data") or {}).get("quarantine.json", "")
            return text if f"docker.io/library/{private}" in text else ""

        text = await eventually(quarantined)

        site.quarantine_file.write_text(text)
        try:

            async def left_alone():
                answer = await client.create(pod(namespace, private, "again"), dry_run=True)
                return container_image(answer.expect()) == private

            await eventually(left_alone)
            print(f"a new Pod is left alone {time.monotonic() - began:.1f} s after the first one")
            other = await client.create(pod(namespace, public, "other"), dry_run=True)
            assert container_image(other.expect()) == site.cached(public)
        finally:
            site.quarantine_file.unlink()
            await client.delete(path)


async def test_a_dead_upstream(site, client, make_namespace, make_controller):
    """
    With the upstream dead, a cached image runs through Harbor; another is restored once.
    """
    namespace = await make_namespace("enforce")
    cached, uncached = site.push("cached"), site.push("uncached")
    (await client.create(pod(namespace, cached, "first"))).expect()
    await wait_for_pods(client, namespace, is_running)
    (await client.delete(f"/api/v1/namespaces/{namespace}/pods/first")).expect()
    await wait_for_pods(client, namespace, is_running, count=0)
    site.node.remove_image(site.cached(cached))
    site.upstream.stop()
    try:
        async with started(make_controller(restoreAfter="5s")) as running_controller:
            await running_controller.leads()
            (await client.create(pod(namespace, cached, "cached"))).expect()
            found = await wait_for_pods(client, namespace, is_running)
            assert container_image(found[0]) == site.cached(cached)

            (await client.create(pod(namespace, uncached, "uncached"))).expect()

            async def restored():
                return running_controller.events("container restored")

            await eventually(restored, seconds=90)
            await asyncio.sleep(15)
            assert 1 == len(await restored())
            item = await client.get(f"/api/v1/namespaces/{namespace}/pods/uncached")
            assert (uncached, 2) == (container_image(item), item["metadata"]["generation"])
    finally:
        site.upstream.start()


async def test_a_pull_that_succeeds_in_that_very_moment(
    site, client, make_namespace, make_controller, failing_pulls
):
    """
    Harbor flaps while Pods are restored: a container that has just started is never restarted.
    """
    namespace = await make_namespace("enforce")
    images = [site.push(f"web{number}") for number in range(4)]
    async with started(
        make_controller(afterUnavailable="0s", restoreAfter="4s", maxPatchesPerSecond=50)
    ) as running_controller:
        await running_controller.leads()
        failing_pulls()
        for number, image in enumerate(images):
            for copy in range(3):
                (await client.create(pod(namespace, image, f"web-{number}-{copy}"))).expect()
        for _ in range(6):
            await asyncio.sleep(1.5)
            failing_pulls(Fault.NONE)
            await asyncio.sleep(1)
            failing_pulls()
        failing_pulls(Fault.NONE)
        found = await wait_for_pods(client, namespace, is_running, count=12, within=120)
        await asyncio.sleep(5)
        found = await pods(client, namespace)
        restored = len(running_controller.events("container restored"))
        refused = await running_controller.metric("recovery_failures_total", cause="conflict")
        print(f"12 Pods under flapping pulls: {restored} restored, {refused:.0f} refused")

    assert {0} == _restarts(found)


async def test_a_pull_that_hangs(site, client, make_namespace, make_controller, failing_pulls):
    """
    A Pod whose pull hangs is restored; it runs when the hanging pull comes to its end.

    The kubelet interrupts no pull, and containerd 1.6 was seen to wait 400 s for the answer to a
    request.  So here Harbor drops its connections in the end, as it does when it is restarted.
    """
    namespace, image = await make_namespace("enforce"), site.push()
    failing_pulls(Fault.HANG)
    (await client.create(pod(namespace, image))).expect()
    began = time.monotonic()
    async with started(
        make_controller(afterUnavailable="2s", restoreAfter="1h")
    ) as running_controller:
        await running_controller.leads()
        site.break_harbor(Breakage.HUNG)

        async def restored():
            return running_controller.events("container restored")

        [event] = await eventually(restored)
        restored_after = time.monotonic() - began
        await asyncio.sleep(5)
        site.break_harbor(Breakage.REFUSED)
        dropped = time.monotonic()
        found = await wait_for_pods(client, namespace, is_running)
        print(
            f"a hanging pull: restored after {restored_after:.1f} s; runs"
            f" {time.monotonic() - dropped:.1f} s after its connection was dropped"
        )

    assert "pull-hangs" == event["cause"]
    assert container_image(found[0]) == image
    assert {0} == _restarts(found)
