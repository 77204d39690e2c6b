"""
Pods on a real node, with Harbor up and with Harbor gone.
"""

import time

import pytest

from tests.support.node.site import Breakage
from tests.support.node.workloads import (
    container_image,
    container_statuses,
    deployment,
    is_running,
    wait_for_pods,
)


pytestmark = pytest.mark.node


def _restarts(pods):
    return [status["restartCount"] for pod in pods for status in container_statuses(pod)]


async def test_deployment_runs_through_harbor(site, client, make_namespace):
    """
    With Harbor up, a Deployment's Pods are rewritten, pulled through Harbor, and run.
    """
    namespace, image = await make_namespace("enforce"), site.push()
    started = time.monotonic()
    (await client.create(deployment(namespace, image, replicas=3))).expect()
    found = await wait_for_pods(client, namespace, is_running, count=3)
    print(f"3 Pods run {time.monotonic() - started:.1f} s after their Deployment was created")
    repository = image.partition(":")[0]

    assert {container_image(each) for each in found} == {site.cached(image)}
    assert _restarts(found) == [0, 0, 0]
    assert any(
        f"/v2/proxy.docker.io/library/{repository}/manifests/" in seen.path
        for seen in site.harbor.harbor.requests
    )
    assert any(f"library/{repository}/blobs/" in line for line in site.store.requests())


async def test_unlabelled_namespace_is_pulled_from_the_upstream(site, client, make_namespace):
    """
    A namespace that has not opted in is left alone, and its Pods ask the upstream.
    """
    namespace, image = await make_namespace(), site.push()
    (await client.create(deployment(namespace, image, replicas=1))).expect()
    found = await wait_for_pods(client, namespace, is_running)
    repository = image.partition(":")[0]

    assert container_image(found[0]) == image
    assert not any(repository in seen.path for seen in site.harbor.harbor.requests)


@pytest.mark.parametrize("breakage", Breakage)
async def test_pods_start_without_harbor(site, client, make_namespace, breakage):
    """
    With Harbor judged down, new Pods are created unmodified, pulled from the upstream, and run.
    """
    namespace, image = await make_namespace("enforce"), site.push()
    site.break_harbor(breakage)
    noticed = await site.wait_until_rewriting(client, rewriting=False)
    started = time.monotonic()
    (await client.create(deployment(namespace, image))).expect()
    found = await wait_for_pods(client, namespace, is_running, count=2)
    print(
        f"{breakage.name}: noticed after {noticed:.1f} s;"
        f" 2 Pods run {time.monotonic() - started:.1f} s after their Deployment was created"
    )

    assert {container_image(each) for each in found} == {image}
    assert _restarts(found) == [0, 0]
