"""
No Pod is refused because of the webhook: many generated ones, and one as large as etcd takes.
"""

import asyncio
import copy
import os
import time

from contextlib import AsyncExitStack

import pytest

from tests.support.kube.installation import installation
from tests.support.kube.neighbour import neighbour
from tests.support.kube.pods import generated_pods


pytestmark = [pytest.mark.kube, pytest.mark.slow]

# Two API calls each, so the rest is for whoever has the time: PODS=20000.
_COUNT = int(os.environ.get("PODS", "1500"))
_SEED = 20_261_124
_AT_ONCE = 24
_LABEL = "harbor-cache.io/rewritten"
_RECORD = "original.harbor-cache.io/"


_BASELINE = {"pod-security.kubernetes.io/enforce": "baseline"}
_HARD = {"pods": "1000000", "requests.cpu": "1000000", "limits.memory": "1000000Gi"}
_LIMITS = {"defaultRequest": {"cpu": "10m"}, "default": {"memory": "64Mi"}, "type": "Container"}


def _inject(pod):
    """
    Do what a service mesh does: one more container, with an image that has a rule.
    """
    containers = pod["spec"]["containers"]
    if not any(each["name"] == "mesh" for each in containers):
        containers.insert(0, {"name": "mesh", "image": "mesh/proxy:1"})


def _configure(pod):
    """
    Do what agents do: a variable for every container, and an annotation.
    """
    pod["metadata"].setdefault("annotations", {})["agent.example/seen"] = "true"
    for container in pod["spec"]["containers"]:
        environment = container.setdefault("env", [])
        if not any(each["name"] == "AGENT" for each in environment):
            environment.append({"name": "AGENT", "value": "on"})


async def _restrict(client, namespace):
    """
    Give a namespace a quota and limits; no controller is there to tell what is used.
    """
    for kind, spec in (("LimitRange", {"limits": [_LIMITS]}), ("ResourceQuota", {"hard": _HARD})):
        metadata = {"name": "all", "namespace": namespace}
        thing = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}
        (await client.create(thing)).expect()
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/all/status"
    status = {"hard": _HARD, "used": dict.fromkeys(_HARD, "0")}
    (await client.patch(path, {"status": status})).expect()


def _in(namespace, pod):
    return pod | {"metadata": pod["metadata"] | {"namespace": namespace}}


def _without_identity(pod):
    """
    Drop what the API server makes anew for each object.
    """
    pod = copy.deepcopy(pod)
    for key in ("uid", "creationTimestamp", "managedFields", "namespace", "resourceVersion"):
        pod["metadata"].pop(key, None)
    for condition in pod["status"].get("conditions", []):
        condition.pop("lastTransitionTime")
    if "generateName" in pod["metadata"]:
        pod["metadata"].pop("name")
    return pod


def _put_back(rewritten, plain):
    """
    Undo in `rewritten` all that the webhook may do, and nothing else; count the images.
    """
    pod, changed = copy.deepcopy(rewritten), 0
    annotations = pod["metadata"].get("annotations", {})
    before = plain["metadata"].get("annotations", {})
    for place in ("initContainers", "containers"):
        pairs = zip(pod["spec"].get(place, []), plain["spec"].get(place, []), strict=True)
        for container, original in pairs:
            if container["image"] == original["image"]:
                continue
            record = _RECORD + container["name"]

            assert annotations[record] == original["image"]

            container["image"] = original["image"]
            changed += 1
            if record in before:
                annotations[record] = before[record]
            else:
                del annotations[record]
    if changed and _LABEL not in plain["metadata"].get("labels", {}):
        assert pod["metadata"]["labels"].pop(_LABEL) == "true"
    for key in ("labels", "annotations"):
        for each in (pod, plain):
            if each["metadata"].get(key) == {}:
                del each["metadata"][key]
    return pod, changed


async def test_generated_pods_are_accepted_alike(client, make_namespace, tmp_path):
    """
    With the webhook as many Pods are accepted as without, and they differ only in what is ours.

    Other webhooks change them before and behind ours; Pod Security, a quota and limits judge them.
    """
    plain_namespace = await make_namespace(labels=_BASELINE)
    enforced = await make_namespace("enforce", labels=_BASELINE)
    pods = iter(generated_pods(_SEED, _COUNT))
    accepted = {"without": 0, "with": 0}
    rewritten_pods = rewritten_images = 0
    refusals = []

    async def compare():
        nonlocal rewritten_pods, rewritten_images
        for pod in pods:
            plain, reviewed = [
                await client.create(_in(namespace, pod), dry_run=True)
                for namespace in (plain_namespace, enforced)
            ]
            accepted["without"] += plain.ok
            accepted["with"] += reviewed.ok
            if not plain.ok or not reviewed.ok:
                refusals.append((plain.ok, reviewed.ok, reviewed.body["message"]))
                continue
            left = _without_identity(plain.body)
            right, images = _put_back(_without_identity(reviewed.body), left)

            assert right == left

            rewritten_pods += bool(images)
            rewritten_images += images

    async with installation(client, tmp_path), AsyncExitStack() as stack:
        for number, namespace in enumerate((plain_namespace, enforced)):
            await _restrict(client, namespace)
            for name, change in (("a-mesh", _inject), ("z-agent", _configure)):
                other = neighbour(client, namespace, f"{name}-{number}", change)
                await stack.enter_async_context(other)
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(compare())
        seconds = time.monotonic() - started
    print(
        f"{_COUNT} Pods in {seconds:.0f} s: accepted {accepted['without']} without the webhook,"
        f" {accepted['with']} with it; {rewritten_pods} Pods ({rewritten_images} images) rewritten"
    )

    assert [each for each in refusals if each[0] != each[1]] == []
    assert accepted["with"] == accepted["without"]
    # The generator is worth something: most are valid, some against the baseline, many rewritten.
    assert 0.8 * _COUNT < accepted["without"] < 0.95 * _COUNT, refusals[:3]
    assert rewritten_pods > 0.3 * _COUNT


async def test_pod_at_the_limit_of_etcd_is_accepted(client, make_namespace, tmp_path):
    """
    The largest Pod that etcd takes is created for real in an enforced namespace, unmodified.
    """
    plain, enforced = await make_namespace(), await make_namespace("enforce")

    def pod(namespace, padding):
        environment = [{"name": "PADDING", "value": "x" * padding}]
        container = {"name": "web", "image": "nginx:1", "env": environment}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "large", "namespace": namespace},
            "spec": {"containers": [container]},
        }

    async def fits(padding):
        answer = await client.create(pod(plain, padding))
        if answer.ok:
            await client.delete(f"/api/v1/namespaces/{plain}/pods/large")
        return answer.ok

    low, high = 1_400_000, 1_600_000

    assert await fits(low)
    assert not await fits(high)

    while high - low > 8:
        middle = (low + high) // 2
        low, high = (middle, high) if await fits(middle) else (low, middle)
    async with installation(client, tmp_path) as installed:
        created = (await client.create(pod(enforced, low))).expect()
        reviews = installed.webhook.read("/metrics")
    print(f"The largest Pod that etcd takes has {low} bytes of padding")

    assert created["spec"]["containers"][0]["image"] == "nginx:1"
    assert 'reason="too-large"' in reviews
