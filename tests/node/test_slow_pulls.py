"""
Pulls that succeed slowly after a failure, on a real node: none is cut off by a move.
"""

import time

import pytest

from tests.support.kube.controllers import eventually, started
from tests.support.node.front import Trouble
from tests.support.node.site import PROJECT, Breakage
from tests.support.node.workloads import (
    container_image,
    container_statuses,
    is_running,
    is_stuck,
    pod,
    pods,
    wait_for_pods,
)
from webhook.demo.standin import Fault


pytestmark = [pytest.mark.node, pytest.mark.slow]

_PULLS = 10
_SLOW = 15.0
# The kubelet waits 10 s after a first failure, and a move may be sent in the first 8 of them.  Here
# each is due later, while the next attempt downloads, which can't be seen.
_RECOVERY = {
    "afterUnavailable": "1h",
    "restoreAfter": "12s",
    "rescueAfter": "2s",
    "maxPatchesPerSecond": 50,
}


@pytest.mark.parametrize("source", ["Harbor", "upstream"])
async def test_slow_pulls_are_not_touched(site, client, make_namespace, make_controller, source):
    """
    Ten Pods pull from a source, slowly, after a failure, while a move is long due: none is touched.

    Through Harbor `restoreAfter` passes meanwhile; while they pull their original Harbor comes back.
    """
    namespace = await make_namespace("enforce")
    images = {f"slow-{number}": site.push(f"slow-{number}") for number in range(_PULLS)}
    # The node has the layer of all: what is slow is then the rest of each, which is one blob.
    (await client.create(pod(namespace, site.push("layer"), "layer"))).expect()
    await wait_for_pods(client, namespace, is_running)
    (await client.delete(f"/api/v1/namespaces/{namespace}/pods/layer")).expect()
    await wait_for_pods(client, namespace, is_running, count=0)
    async with started(make_controller(**_RECOVERY)) as controller:
        await controller.leads()
        if source == "upstream":
            site.warm(list(images.values()))
            site.break_harbor(Breakage.REFUSED)
            await site.wait_until_rewriting(client, rewriting=False)
        repositories = {name: f"library/{image[:-2]}" for name, image in images.items()}
        site.front.of.update(dict.fromkeys(repositories.values(), Trouble.CLOSED))
        site.front.slow = _SLOW
        asked = site.front.requests["GET blob"]
        for name, image in images.items():
            (await client.create(pod(namespace, image, name))).expect()

        async def all_failed():
            # Once each: with a second failure a Pod may be moved, while the kubelet waits again.
            found = await pods(client, namespace)
            for each in filter(is_stuck, found):
                site.front.of.pop(repositories[each["metadata"]["name"]], None)
            return not site.front.of and found

        async def all_being_pulled():
            return site.front.requests["GET blob"] >= asked + _PULLS

        async def harbor_is_available():
            return (await controller.status())["projects"][PROJECT]["state"] == "available"

        before = await eventually(all_failed)
        await eventually(all_being_pulled)
        began = time.monotonic()
        site.harbor.set_fault(Fault.NONE)
        await eventually(harbor_is_available)
        meanwhile = [each for each in await pods(client, namespace) if not is_running(each)]
        await wait_for_pods(client, namespace, is_running, count=_PULLS, within=60)
        print(
            f"{source}: {len(meanwhile)} of {_PULLS} were being pulled when Harbor was known to be"
            f" available; all run {time.monotonic() - began:.1f} s after the last pull began"
        )
        after = await pods(client, namespace)

    assert meanwhile
    assert {e["metadata"]["uid"] for e in before} == {e["metadata"]["uid"] for e in after}
    assert {0} == {s["restartCount"] for e in after for s in container_statuses(e)}
    assert {1} == {e["metadata"]["generation"] for e in after}
    pulled = images.values() if source == "upstream" else map(site.cached, images.values())
    assert set(pulled) == {container_image(each) for each in after}
