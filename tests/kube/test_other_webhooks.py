"""
Other webhooks beside ours: injectors, verifiers that pin digests, and those that add annotations.
"""

from itertools import product

import pytest

from tests.support.kube.controllers import (
    Controller,
    Pods,
    config_for,
    eventually,
    started,
    waiting,
)
from tests.support.kube.installation import installation
from tests.support.kube.neighbour import neighbour


pytestmark = pytest.mark.kube

# Ours is called harbor-cache-webhook.
ORDERS = {"before ours": "a-neighbour", "behind ours": "z-neighbour"}
DIGEST = "sha256:" + "d" * 64
RECORD = "original.harbor-cache.io/"
LIMIT = 256 * 1024


@pytest.fixture(params=ORDERS.values(), ids=ORDERS.keys())
def name(request):
    return request.param


def pod(namespace, *containers, **metadata):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace, **metadata},
        "spec": {"containers": list(containers)},
    }


def images(created):
    return {each["name"]: each["image"] for each in created["spec"]["containers"]}


def records(created):
    annotations = created["metadata"].get("annotations", {})
    return {k.removeprefix(RECORD): v for k, v in annotations.items() if k.startswith(RECORD)}


def inject(pod):
    """
    Fill in the proxy where it is named `auto`, and add it where it is absent, as Istio does.
    """
    proxies = [each for each in pod["spec"]["containers"] if each["name"] == "istio-proxy"]
    if not proxies:
        proxies = [{"name": "istio-proxy", "image": "auto"}]
        pod["spec"]["containers"].append(proxies[0])
    if proxies[0]["image"] == "auto":
        proxies[0]["image"] = "docker.io/istio/proxyv2:1.27.1"


def pin_behind_the_tag(pod):
    """
    Write the digest behind the tag, as Kyverno does.
    """
    for container in pod["spec"]["containers"]:
        if "@" not in container["image"]:
            tag = "" if ":" in container["image"].rpartition("/")[2] else ":latest"
            container["image"] += f"{tag}@{DIGEST}"


def pin_in_place_of_the_tag(pod):
    """
    Write the digest in place of the tag, as sigstore's policy-controller does.
    """
    for container in pod["spec"]["containers"]:
        if "@" not in container["image"]:
            path, slash, last = container["image"].rpartition("/")
            container["image"] = f"{path}{slash}{last.partition(':')[0]}@{DIGEST}"


@pytest.mark.parametrize(
    "owner",
    [
        ("postgresql.cnpg.io/v1", "Cluster"),
        ("operators.coreos.com/v1alpha1", "CatalogSource"),
        ("kubevirt.io/v1", "VirtualMachineInstance"),
        ("workloads.kubeblocks.io/v1", "InstanceSet"),
        ("v1", "Service"),
        ("apps/v1", "StatefulSet"),
    ],
    ids=lambda owner: owner[1],
)
async def test_pods_of_operators_keep_their_images(client, make_namespace, tmp_path, owner):
    """
    Of operators that compare images; an ordinary StatefulSet's Pod only by its labels.
    """
    namespace = await make_namespace("enforce")
    api_version, kind = owner
    reference = {"apiVersion": api_version, "kind": kind, "name": "acid", "uid": "a"}
    web = {"name": "web", "image": "nginx:1"}
    spilo = {"application": "spilo"}

    async with installation(client, tmp_path, excludePods=["application=spilo"]) as ours:
        plain, labelled = [
            (
                await client.create(
                    pod(namespace, web, ownerReferences=[reference], labels=labels), dry_run=True
                )
            ).expect()
            for labels in ({}, spilo)
        ]

    ordinary = ours.cached("library/nginx:1") if kind == "StatefulSet" else "nginx:1"
    assert [{"web": ordinary}, {"web": "nginx:1"}] == [images(plain), images(labelled)]


@pytest.mark.parametrize("proxy", ["auto", None], ids=["gateway", "sidecar"])
async def test_an_injected_proxy_is_pulled_through_harbor(
    client, make_namespace, tmp_path, name, proxy
):
    """
    Whoever comes first, the injector sees `auto`, and Harbor serves what it put there.
    """
    namespace = await make_namespace("enforce")
    containers = [{"name": "web", "image": "nginx:1"}]
    if proxy:
        containers.append({"name": "istio-proxy", "image": proxy})

    async with installation(client, tmp_path) as ours, neighbour(client, namespace, name, inject):
        created = (await client.create(pod(namespace, *containers))).expect()

    assert {
        "web": ours.cached("library/nginx:1"),
        "istio-proxy": ours.cached("istio/proxyv2:1.27.1"),
    } == images(created)
    assert {"web": "nginx:1", "istio-proxy": "docker.io/istio/proxyv2:1.27.1"} == records(created)


@pytest.mark.slow
@pytest.mark.parametrize("reinvocation", ["IfNeeded", "Never"])
async def test_whatever_was_pinned_ends_on_its_original(
    client, cluster, make_namespace, tmp_path, reinvocation
):
    """
    Pinned in either way, by a webhook before or behind ours: with Harbor down that content is back.

    Where webhooks are asked again, the record names that content already.
    """
    pins = {"kyverno": (pin_behind_the_tag, ":1"), "sigstore": (pin_in_place_of_the_tag, "")}
    ends = []
    async with installation(client, tmp_path, reinvocation=reinvocation) as ours:
        for (pin, tag), order in product(pins.values(), ORDERS.values()):
            # One for each: the API server goes on to call a webhook for a moment after its end.
            namespace = await make_namespace("enforce")
            pods = Pods(client, namespace, ours.harbor.url)
            web = pod(namespace, {"name": "web", "image": "nginx:1"})
            web["spec"]["nodeName"] = "node1"
            async with neighbour(client, namespace, order, pin, reinvocation):
                created = (await client.create(web)).expect()
            assert {"web": ours.cached(f"library/nginx{tag}@{DIGEST}")} == images(created)
            if reinvocation == "IfNeeded":
                assert {"web": f"nginx{tag}@{DIGEST}"} == records(created)
            await pods.report("web", [waiting("web", images(created)["web"])])
            ends.append((pods, {"web": f"nginx{tag}@{DIGEST}"}))
        config = config_for(ours.harbor.url)
        ours.harbor.stop()
        async with started(Controller(tmp_path, cluster.kubeconfig(), namespace, config)):

            async def restored():
                return [end for _, end in ends] == [await p.images("web") for p, _ in ends]

            await eventually(restored)


@pytest.mark.parametrize(
    "annotated",
    [
        (LIMIT - 8 * 1024 - len(f"{RECORD}webnginx:1"), True),
        (LIMIT - 8 * 1024 - len(f"{RECORD}webnginx:1") + 1, False),
        (LIMIT - 300, False),
    ],
    ids=["room for a record", "none", "up to the last byte"],
)
async def test_there_is_room_for_annotations_of_others(
    client, make_namespace, tmp_path, name, annotated
):
    """
    A Pod that is accepted without us is accepted with us, also where others add 300 bytes.
    """
    size, rewritten = annotated
    plain, enforced = await make_namespace(), await make_namespace("enforce")
    seen_by_us = size if name == ORDERS["behind ours"] or size + 300 == LIMIT else size - 300
    annotations = {"padding": "x" * (seen_by_us - len("padding"))}
    container = {"name": "web", "image": "nginx:1"}

    def annotate(pod):
        added = {"neighbour": "x" * (300 - len("neighbour"))}
        pod["metadata"]["annotations"] = pod["metadata"].get("annotations", {}) | added

    async with installation(client, tmp_path) as ours:
        async with neighbour(client, plain, name, annotate):
            (await client.create(pod(plain, container, annotations=annotations))).expect()
        async with neighbour(client, enforced, name, annotate):
            created = (
                await client.create(pod(enforced, container, annotations=annotations))
            ).expect()

    expected = ours.cached("library/nginx:1") if rewritten else "nginx:1"
    assert {"web": expected} == images(created)
