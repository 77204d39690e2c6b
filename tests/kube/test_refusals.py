"""
What others refuse, take out and rename at a real API server: no Pod waits for another's sake.
"""

import asyncio
import json

from collections import Counter
from datetime import datetime

import pytest

from tests.support.kube.controllers import Controller, Pods, config_for, eventually, started
from tests.support.kube.refusing import refusing
from webhook.demo.standin.server import HarborStandIn
from webhook.demo.standin.thread import ThreadedStandIn
from webhook.errors import ClusterError
from webhook.kube.api import connect


pytestmark = [pytest.mark.kube, pytest.mark.slow]

_REFUSED = 150  # In each of two namespaces.
_OTHERS = 20
_PER_SECOND = 4


@pytest.fixture
def harbor():
    with ThreadedStandIn(HarborStandIn(strict=False)) as running_harbor:
        yield running_harbor


@pytest.fixture
def make_pods(client, make_namespace, harbor):
    async def make(count=0):
        pods = Pods(client, await make_namespace("enforce"), harbor.url)
        await asyncio.gather(*(pods.stuck(f"web-{number}") for number in range(count)))
        return pods

    return make


def until_last(controller, namespace):
    """
    Return how many seconds after it led the controller restored the last Pod of a namespace.
    """
    restored = [
        event["timestamp"]
        for event in controller.events("container restored")
        if event["namespace"] == namespace
    ]
    began = controller.events("leading")[0]["timestamp"]
    return (datetime.fromisoformat(restored[-1]) - datetime.fromisoformat(began)).total_seconds()


async def all_restored(pods, original="nginx:1"):
    found = [pod["spec"]["containers"][0]["image"] for pod in await pods.list()]
    return set(found) == {original}


async def test_a_patch_that_a_webhook_holds_is_late(cluster, client, make_pods):
    """
    It is told from an API server that is not there: the Pod could be read a moment before.
    """
    pods = await make_pods(1)
    path = f"/api/v1/namespaces/{pods.namespace}/pods/web-0"
    operations = [{"op": "add", "path": "/metadata/labels/a", "value": "b"}]
    async with (
        refusing(client, pods.namespace, after=3.0),
        connect(cluster.kubeconfig(), 1.0) as kube,
    ):
        await kube.get(path)
        with pytest.raises(ClusterError, match="no answer within 1 s") as held:
            await kube.json_patch(path, operations)

    assert held.value.late


async def test_300_refused_pods_hold_up_nobody(cluster, client, harbor, make_pods, tmp_path):
    """
    The last of twenty others comes as if they were alone, and the 300 when policies are corrected.
    """
    alone = await make_pods(_OTHERS)
    harbor.stop()
    config = config_for(harbor.url, maxPatchesPerSecond=_PER_SECOND)
    arguments = (tmp_path, cluster.kubeconfig(), alone.namespace, config)
    async with started(Controller(*arguments)) as first:
        await eventually(lambda: all_restored(alone))
        without = until_last(first, alone.namespace)

    restricted, guarded = await make_pods(_REFUSED), await make_pods(_REFUSED)
    others = await make_pods(_OTHERS)
    path = f"/api/v1/namespaces/{restricted.namespace}"
    label = "pod-security.kubernetes.io/enforce"
    strict = {"metadata": {"labels": {label: "restricted"}}}
    (await client.patch(path, strict, kind="merge-patch")).expect()
    async with started(Controller(*arguments)) as second:
        async with refusing(client, guarded.namespace):
            await eventually(lambda: all_restored(others))
            beside = until_last(second, others.namespace)
            print(
                f"the last of {_OTHERS}: {without:.1f} s alone, {beside:.1f} s beside 300 refused"
            )

            for pods in (restricted, guarded):
                await eventually(lambda pods=pods: all_told(pods), seconds=60)
            assert beside <= 1.2 * without
        reasons = {event["status"] for event in second.events("move refused")}
        assert {400, 403} == reasons
        quicker = config_for(harbor.url, maxPatchesPerSecond=30)
        second.config_file.write_text(json.dumps(quicker))
        lenient = {"metadata": {"labels": {label: None}}}
        (await client.patch(path, lenient, kind="merge-patch")).expect()

        for pods in (restricted, guarded):
            await eventually(lambda pods=pods: all_restored(pods), seconds=240, every=1.0)
            refused = (await events(pods))["HarborCacheRestoreRefused"]
            assert {1} == set(refused.values())
            assert _REFUSED == len(refused)


async def events(pods):
    """
    Return by reason how many Events each Pod has.
    """
    path = f"/api/v1/namespaces/{pods.namespace}/events"
    found = {}
    for event in (await pods.client.get(path))["items"]:
        found.setdefault(event["reason"], Counter())[event["involvedObject"]["name"]] += 1
    return found


async def all_told(pods):
    return len((await events(pods)).get("HarborCacheRestoreRefused", ())) == _REFUSED


async def test_rules_that_are_taken_out_or_renamed(cluster, client, harbor, make_pods, tmp_path):
    """
    A registry goes, a project gets another name, the controller starts anew: Pods are restored.
    """
    pods = await make_pods()
    quay = f"{pods.host}/proxy.quay.io/a/b:1"
    await pods.stuck("hub")
    await pods.stuck("quay", image=quay, record="quay.io/a/b:1")
    path = f"/api/v1/namespaces/{pods.namespace}/configmaps/harbor-cache-webhook-quarantine"
    config = config_for(harbor.url, restoreAfter="10m")
    arguments = (tmp_path, cluster.kubeconfig(), pods.namespace)
    async with started(Controller(*arguments, config)):

        async def remembered():
            answer = await client.request("GET", path)
            return "proxy.quay.io" in str((answer.body.get("data") or {}).get("former-rules.json"))

        await eventually(remembered)

    later = {**config, "registries": [{"host": "docker.io", "project": "hub"}]}
    harbor.stop()
    async with started(Controller(*arguments, later)) as second:

        async def restored():
            images = [await pods.images(name) for name in ("hub", "quay")]
            return images == [{"web": "nginx:1"}, {"web": "quay.io/a/b:1"}]

        await eventually(restored)
        former = (await second.status())["recovery"]["formerRules"]
        assert {"registry": "quay.io", "project": "proxy.quay.io"} in former
        assert 0 == await second.metric("recovery_failures_total", cause="record-mismatch")
