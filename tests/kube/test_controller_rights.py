"""
The controller with nothing but the rights and the fences that the chart gives it.
"""

import json

import pytest

from tests.support.helm import NAMESPACE
from tests.support.kube.controllers import Controller, Pods, config_for, eventually, started
from tests.support.kube.installed import NAME, controller_token, installed
from webhook.demo.standin.server import HarborStandIn
from webhook.demo.standin.thread import ThreadedStandIn


pytestmark = [pytest.mark.kube, pytest.mark.slow]


@pytest.fixture
async def kubeconfig(client, cluster, tmp_path):
    """
    Apply the chart's objects, and yield a kubeconfig with the controller's own token.
    """
    async with installed(client):
        content = json.loads(cluster.kubeconfig().read_text())
        content["users"][0]["user"] = {"token": await controller_token(client)}
        file = tmp_path / "controller.kubeconfig"
        file.write_text(json.dumps(content))
        yield file


async def test_its_rights_are_enough(client, make_namespace, kubeconfig, tmp_path):
    """
    Pods are restored, certificates written, Events told, a quarantine that was deleted made anew.
    """
    quarantine = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-quarantine"
    await client.delete(quarantine)
    with ThreadedStandIn(HarborStandIn(strict=False)) as harbor:
        pods = Pods(client, await make_namespace(), harbor.url)
        await pods.stuck("web")
        controller = Controller(
            tmp_path, kubeconfig, NAMESPACE, config_for(harbor.url), "--tls-mode", "self-managed"
        )
        async with started(controller):
            harbor.stop()

            async def restored():
                return await pods.images("web") == {"web": "nginx:1"}

            async def told():
                return ["HarborCacheRestored"] == await pods.events("web")

            async def trusted():
                path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
                webhooks = (await client.get(f"{path}/{NAME}"))["webhooks"]
                return all(webhook["clientConfig"].get("caBundle") for webhook in webhooks)

            async def written():
                answer = await client.request("GET", quarantine)
                return "quarantine.json" in (answer.body.get("data") or {})

            for check in (restored, told, trusted, written):
                await eventually(check)

            assert [] == controller.events("event not written")
            assert 0 == await controller.metric("recovery_failures_total", cause="forbidden")
            assert 0 == await controller.metric("recovery_failures_total", cause="quarantine")
