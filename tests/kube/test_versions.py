"""
An upgrade and a rollback at a real API server: two versions work together, and miss no Pod.

The earlier version is its own code out of the repository's history, in processes of its own.
"""

import asyncio
import os

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trustme

from tests.support.helm import CHART, HARBOR, NAMESPACE, helm, render
from tests.support.history import earlier
from tests.support.kube.balancer import Backend, Balancer
from tests.support.kube.client import object_path
from tests.support.kube.controllers import Controller, Pods, config_for, eventually, started
from tests.support.kube.creation import constant_creation, fail_open_count
from tests.support.kube.installed import NAME, without_hooks
from tests.support.kube.registration import registered, webhook_configuration
from tests.support.kube.webhook import WebhookProcess, configuration
from tests.support.recovery_pods import waiting
from webhook.demo.standin import Fault, HarborStandIn, ThreadedStandIn


pytestmark = [pytest.mark.kube, pytest.mark.slow]

_PODS = 5
# How long each mixture lasts: MINUTES=2 for as long as an upgrade that hangs takes.
_MIXED = 60 * float(os.environ.get("MINUTES", "0.03"))


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """
    Provide the environment of each version's processes.
    """
    code = earlier(tmp_path_factory.mktemp("earlier"), "webhook", "certs")
    return {"new": dict(os.environ), "old": {**os.environ, "PYTHONPATH": str(code)}}


@asynccontextmanager
async def _serving(webhook):
    """
    Run a webhook; it may be stopped before the end of the context.
    """
    await asyncio.to_thread(webhook.start)
    try:
        yield
    finally:
        await asyncio.to_thread(webhook.stop)


@pytest.mark.parametrize(("before", "after"), [("old", "new"), ("new", "old")])
async def test_versions_mix(cluster, client, make_namespace, tmp_path, versions, *, before, after):
    """
    While versions change, every Pod is rewritten, and what one rewrote the other restores.
    """
    pods = Pods(client, await make_namespace("enforce"), "")
    load, authority = await make_namespace("enforce"), trustme.CA()

    def make_webhook(version, harbor):
        return WebhookProcess(
            tmp_path / version,
            configuration(harbor.url),
            authority,
            drain_seconds=3.0,
            environment=versions[version],
        )

    def make_controller(version, harbor):
        return Controller(
            tmp_path,
            cluster.kubeconfig(),
            pods.namespace,
            config_for(harbor.url),
            environment=versions[version],
        )

    async def create(version):
        for number in range(_PODS):
            made = await pods.create(f"{version}-{number}", {"web": "nginx:1"})

            assert pods.cached() == made["spec"]["containers"][0]["image"]

    async def wait_and_be_restored(version):
        names = [f"{version}-{number}" for number in range(_PODS)]
        for name in names:
            await pods.report(name, [waiting("web", pods.cached())])

        async def all_restored():
            return {"nginx:1"} == {(await pods.images(name))["web"] for name in names}

        await eventually(all_restored)

    with ThreadedStandIn(HarborStandIn()) as harbor:
        pods.host = harbor.url.partition("//")[2]
        leaving, coming = make_webhook(before, harbor), make_webhook(after, harbor)
        backends = [Backend(each.port, f"{each.ops_url}/readyz") for each in (leaving, coming)]

        async def ready(number):
            async def so_many():
                return len(balancer.ready) == number

            await eventually(so_many)

        async with _serving(leaving), Balancer(backends) as balancer:
            await ready(1)
            url = f"https://127.0.0.1:{balancer.port}"
            registration = webhook_configuration(url, leaving.ca_bundle)
            async with registered(client, registration), AsyncExitStack() as later:
                async with started(make_controller(before, harbor)) as controller:
                    await controller.leads()
                    failed_open = await fail_open_count(client)
                    async with constant_creation(client, load, dry_run=True) as creations:
                        await create(before)
                        await later.enter_async_context(_serving(coming))
                        await ready(2)
                        await asyncio.sleep(_MIXED)
                        await asyncio.to_thread(leaving.stop)
                        await create(after)
                        await asyncio.sleep(_MIXED)
                    failed_open = await fail_open_count(client) - failed_open
                    harbor.set_fault(Fault.REFUSED)
                    await wait_and_be_restored(after)
                async with started(make_controller(after, harbor)):
                    await wait_and_be_restored(before)
                harbor.set_fault(Fault.NONE)
    print(
        f"{before} to {after}: {creations.accepted} Pods accepted, {creations.refused} refused,"
        f" {creations.missed} not rewritten, failed open {failed_open:.0f} times;"
        f" longest creation {creations.longest * 1000:.0f} ms"
    )

    assert (0, 0, 0) == (creations.refused, creations.missed, failed_open)
    assert 0 == balancer.failed
    assert creations.accepted > 10 * _PODS


async def test_helm_upgrades_and_goes_back(cluster, client, tmp_path):
    """
    From the earlier chart helm reaches this one, keeping values either way, goes back, and leaves.
    """
    chart = earlier(tmp_path, "charts") / "charts" / CHART.name
    deployment = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}-controller"

    async def run(command, *arguments):
        result = await asyncio.to_thread(
            helm,
            *(command, NAME, *arguments),
            *("--namespace", NAMESPACE, "--kubeconfig", str(cluster.kubeconfig())),
        )

        assert 0 == result.returncode, result.stderr

    async def is_new():
        (container,) = (await client.get(deployment))["spec"]["template"]["spec"]["containers"]
        return any(argument.startswith("--fence=") for argument in container["args"])

    await run("install", str(chart), "--create-namespace", *HARBOR)
    try:
        seen = [await is_new()]
        for step in (
            ("upgrade", str(CHART), "--reuse-values"),
            ("rollback", "1"),
            ("upgrade", str(CHART), "--reset-then-reuse-values"),
        ):
            await run(*step)
            seen.append(await is_new())
    finally:
        await run("uninstall")

    assert [False, True, False, True] == seen
    for item in without_hooks(render(*HARBOR)):
        assert 404 == (await client.request("GET", object_path(item))).status, item["kind"]
