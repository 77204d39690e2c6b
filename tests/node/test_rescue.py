"""
Pods that wait for their upstream on a real node, moved to Harbor in place; and pulls left alone.
"""

import asyncio
import statistics
import time

import pytest

from tests.support.kube.controllers import eventually, started
from tests.support.node.front import Trouble
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

_RECOVERY = {
    "afterUnavailable": "2s",
    "restoreAfter": "2s",
    "rescueAfter": "2s",
    "maxPatchesPerSecond": 50,
}

# With the first of them wait Pods of every kind, with each other one a bare Pod.
_TROUBLES = (Trouble.LIMITED, Trouble.ABSENT, Trouble.DROPPED, Trouble.CLOSED)


async def test_waiting_for_the_upstream(site, client, make_namespace, make_controller):
    """
    Pods of every kind that wait for their upstream run once Harbor is there: with no restart.
    """
    namespace, left_alone = await make_namespace("enforce"), await make_namespace()
    images = {trouble: site.push(trouble.value) for trouble in _TROUBLES}
    limited = images[Trouble.LIMITED]
    site.warm(list(images.values()))
    site.break_harbor(Breakage.REFUSED)
    await site.wait_until_rewriting(client, rewriting=False)
    for trouble, image in images.items():
        site.front.of[f"library/{image.removesuffix(':1')}"] = trouble
    others = [
        pod(left_alone, limited, "no-label"),
        _labelled(namespace, limited, "opted-out", {"harbor-cache.io/mode": "off"}),
        _owned(namespace, limited, "of-an-operator"),
    ]
    apart = {each["metadata"]["name"] for each in others}

    async def ours():
        found = await pods(client, namespace)
        return [each for each in found if each["metadata"]["name"] not in apart]

    async def all_stuck():
        found = await ours()
        return found if len(found) == count and all(map(is_stuck, found)) else []

    async with started(make_controller(**_RECOVERY)) as controller:
        await controller.leads()
        made = every_kind(namespace, limited, scheduled=False)
        count = 10 + len(_TROUBLES) - 1
        bare = [pod(namespace, image, f"bare-{t.value}") for t, image in images.items()]
        for each in (*made, *bare[1:], *others):
            (await client.create(each)).expect()
        before = await eventually(all_stuck, seconds=150)
        site.harbor.set_fault(Fault.NONE)
        back = time.monotonic()
        times: dict[str, float] = {}
        while len(times) < count:
            assert time.monotonic() < back + 300, [  # The kubelet's longest back-off.
                (each["metadata"]["name"], [s["state"] for s in container_statuses(each)])
                for each in await ours()
                if each["metadata"]["name"] not in times
            ]
            for each in await ours():
                if is_running(each):
                    times.setdefault(each["metadata"]["name"], time.monotonic() - back)
            await asyncio.sleep(0.1)
        after = await ours()
        untouched = [
            each
            for where in (left_alone, namespace)
            for each in await pods(client, where)
            if each["metadata"]["name"] in apart
        ]
    print(
        f"from 'Harbor is back' to Running: median {statistics.median(times.values()):.1f} s,"
        f" most {max(times.values()):.1f} s, of {count} Pods (2 s of it rescueAfter)"
    )

    assert {e["metadata"]["uid"] for e in before} == {e["metadata"]["uid"] for e in after}
    assert {0} == {s["restartCount"] for e in after for s in container_statuses(e)}
    assert {site.cached(image) for image in images.values()} == {
        container_image(each) for each in after
    }
    assert [limited] * 3 == [container_image(each) for each in untouched]


@pytest.mark.parametrize("first", ["Harbor", "upstream"])
async def test_both_sources_down(site, client, make_namespace, make_controller, first):
    """
    A Pod that was restored into an upstream that is down as well runs from whichever is back first.
    """
    namespace, image = await make_namespace("enforce"), site.push()
    site.warm([image])
    site.harbor.harbor.pull_faults[PROJECT] = Fault.NOT_FOUND
    site.front.set_trouble(Trouble.CLOSED)
    try:
        async with started(make_controller(**_RECOVERY)) as controller:
            await controller.leads()
            (await client.create(pod(namespace, image, "web"))).expect()
            await wait_for_pods(client, namespace, is_stuck)
            site.break_harbor(Breakage.REFUSED)

            async def restored():
                [found] = await pods(client, namespace)
                return container_image(found) == image and is_stuck(found)

            await eventually(restored)
            site.harbor.harbor.pull_faults.pop(PROJECT, None)
            if first == "Harbor":
                site.harbor.set_fault(Fault.NONE)
            else:
                site.front.set_trouble(Trouble.NONE)
            began = time.monotonic()
            [found] = await wait_for_pods(client, namespace, is_running, within=300)
            print(f"{first} is back first: Running after {time.monotonic() - began:.1f} s")
    finally:
        site.harbor.harbor.pull_faults.pop(PROJECT, None)

    assert (site.cached(image) if first == "Harbor" else image) == container_image(found)
    assert {0} == {s["restartCount"] for s in container_statuses(found)}


def _labelled(namespace, image, name, labels):
    made = pod(namespace, image, name)
    made["metadata"]["labels"] = labels
    return made


def _owned(namespace, image, name):
    made = pod(namespace, image, name)
    made["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "name": "database",
            "uid": "6f1c2b9e-3d3d-4c7e-9a55-0d5d5d3b8a10",
        }
    ]
    return made
