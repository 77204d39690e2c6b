"""
`harbor-cache status` at a real API server: well, and each way of not being well.

The release is the chart's; there is no kubelet, so its Pods are made by hand, and their ops ports
are played: the API server's own proxy asks them.
"""

import asyncio
import base64
import copy
import datetime as dt
import json

from dataclasses import dataclass, field

import pytest

from aiohttp import web
from click.testing import CliRunner

from certs.authority import Authority, service_names
from tests.support.helm import HARBOR, render
from tests.support.kube.addresses import own_address
from tests.support.kube.client import ApiClient
from webhook import __version__
from webhook.cli import main
from webhook.harbor.status import Condition, HarborStatus
from webhook.image.availability import State


pytestmark = pytest.mark.kube
NAME, NAMESPACE = "harbor-cache-webhook", "harbor-cache"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CONFIGURATION = f"{ADMISSION}/mutatingwebhookconfigurations/{NAME}"
HERE = f"/api/v1/namespaces/{NAMESPACE}"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}-controller"
NOW = dt.datetime.now(dt.UTC)
KINDS_OF_OTHERS = {"Certificate", "GrafanaDashboard", "Issuer", "PrometheusRule", "ServiceMonitor"}


def harbor(state=State.AVAILABLE, why="", project=State.AVAILABLE):
    condition = Condition(state, NOW, 5.0, "refused" if why else "", why)
    other = Condition(project, NOW, 5.0)
    projects = {"proxy.docker.io": other, "proxy.quay.io": other}
    return HarborStatus("https://harbor.example.com", 1.0, 30.0, condition, (), projects).as_json()


@dataclass
class Release:
    """
    An installation that can be broken.
    """

    client: ApiClient
    kubeconfig: str
    objects: list
    statuses: dict = field(default_factory=dict)

    async def look(self, *arguments):
        command = ["status", "--kubeconfig", self.kubeconfig, *arguments]
        return await asyncio.to_thread(CliRunner().invoke, main, command)

    async def patch(self, path, patch):
        (await self.client.patch(path, patch, kind="merge-patch")).expect()


def serving(authority):
    pair = authority.issue(service_names(NAME, NAMESPACE), now=NOW, lifetime=dt.timedelta(days=90))
    return pair.certificate_pem.decode()


@pytest.fixture
async def release(start_cluster):
    cluster = start_cluster()
    authority = Authority.create(now=NOW, lifetime=dt.timedelta(days=365))
    async with ApiClient(cluster) as client:
        objects = [
            item
            for item in render(*HARBOR)
            if item["kind"] not in KINDS_OF_OTHERS
            and "helm.sh/hook" not in item["metadata"].get("annotations", {})
        ]
        made = Release(client, str(cluster.kubeconfig()), objects)
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        (await client.apply(space)).expect()
        for item in objects:
            (await client.apply(item)).expect()
        configuration = await client.get(CONFIGURATION)
        bundle = base64.b64encode(authority.certificate_pem).decode()
        for webhook in configuration["webhooks"]:
            webhook["clientConfig"]["caBundle"] = bundle
        (await client.request("PUT", CONFIGURATION, configuration)).expect()
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": f"{NAME}-controller", "namespace": NAMESPACE},
            "spec": {
                "holderIdentity": "controller-0_ab",
                "leaseDurationSeconds": 15,
                "renewTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
        (await client.create(lease)).expect()
        async with played_pods(made, serving(authority)):
            await team(client)
            yield made


class played_pods:  # noqa: N801 - used like a function.
    """
    The release's Pods, and what they answer.
    """

    def __init__(self, release, certificate):
        self._release, self._certificate = release, certificate

    async def __aenter__(self):
        address = own_address()
        app = web.Application()
        app.router.add_get("/status", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        deployments = [item for item in self._release.objects if item["kind"] == "Deployment"]
        for deployment in deployments:
            for number in range(deployment["spec"]["replicas"]):
                site = web.TCPSite(self._runner, address, 0)
                await site.start()
                port = self._runner.addresses[-1][1]
                await self._create(deployment, number, address, port)

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _create(self, deployment, number, address, port):
        template = copy.deepcopy(deployment["spec"]["template"])
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        name = f"{component}-{number}"
        container = template["spec"]["containers"][0]
        container["ports"] = [{"name": "ops", "containerPort": port}]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": name, "namespace": NAMESPACE},
            "spec": {**template["spec"], "nodeName": "node"},
        }
        client = self._release.client
        (await client.create(pod)).expect()
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        (await client.patch(f"{HERE}/pods/{name}/status", {"status": status})).expect()
        self._release.statuses[port] = {
            **harbor(),
            "version": __version__,
            **(
                {"certificate": self._certificate, "refused": {}} if component == "webhook" else {}
            ),
        }

    async def _answer(self, request):
        port = request.transport.get_extra_info("sockname")[1]
        return web.json_response(self._release.statuses[port])


async def team(client):
    """
    Make a namespace with a Pod on Harbor and one that waits for its image.
    """
    metadata = {"name": "shop"}
    (await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).expect()
    image = "harbor.example.com/proxy.docker.io/library/nginx:1"
    for name in ("on-harbor", "waiting"):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [{"name": "a", "image": image}]},
        }
        (await client.create(pod)).expect()
    waiting = {
        "name": "a",
        "image": image,
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff"}},
    }
    path = "/api/v1/namespaces/shop/pods/waiting/status"
    (await client.patch(path, {"status": {"containerStatuses": [waiting]}})).expect()
    labels = {"metadata": {"labels": {"harbor-cache.io/mode": "enforce"}}}
    (await client.patch("/api/v1/namespaces/shop", labels)).expect()


async def test_a_healthy_installation_is_well_every_time(release):
    """Of 20 looks at a healthy installation all say so, with exit code 0 and the Pods counted."""
    looks = [await release.look() for _ in range(20)]
    document = json.loads((await release.look("-o", "json")).stdout)

    assert [(0, "All is well in release harbor-cache/harbor-cache-webhook")] * 20 == [
        (look.exit_code, look.stdout.split(" of http")[0]) for look in looks
    ]
    assert document["well"]
    assert [] == document["problems"] + document["unseen"]
    assert [("shop", {"cached": 2, "direct": 0, "restored": 0}, 1)] == [
        (n["name"], n["pods"], n["waiting"]) for n in document["namespaces"]
    ]
    assert {__version__} == {replica["version"] for replica in document["replicas"]}
    assert "\x1b" not in looks[0].stdout


async def harbor_dead(release):
    for status in release.statuses.values():
        status.update(harbor(State.UNAVAILABLE, "connection refused"))


async def replica_dead(release):
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}
    container = {"name": "webhook", "image": "x", "imageID": "", "ready": False}
    status = {
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{**container, "restartCount": 9, "state": {"waiting": waiting}}],
    }
    await release.patch(f"{HERE}/pods/webhook-1/status", {"status": status})


async def bundle_emptied(release):
    configuration = await release.client.get(CONFIGURATION)
    for webhook in configuration["webhooks"]:
        del webhook["clientConfig"]["caBundle"]
    (await release.client.request("PUT", CONFIGURATION, configuration)).expect()


async def wrong_pair(release):
    other = serving(Authority.create(now=NOW, lifetime=dt.timedelta(days=365)))
    list(release.statuses.values())[-1]["certificate"] = other


async def fence_deleted(release):
    await release.client.delete(f"{ADMISSION}/validatingadmissionpolicies/{NAME}-controller-pods")


async def rules_differ(release):
    path = f"{ADMISSION}/validatingadmissionpolicies/{NAME}-controller-pods"
    await release.patch(path, {"metadata": {"annotations": {"harbor-cache.io/rules": "0" * 64}}})


async def lease_released(release):
    await release.patch(LEASE, {"spec": {"holderIdentity": ""}})


async def config_refused(release):
    await release.patch(f"{HERE}/configmaps/{NAME}", {"data": {"config.yaml": "harbour: {}"}})


async def project_suspended(release):
    until = (NOW + dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"until": until, "reason": "six images failed on two nodes"}
    text = json.dumps({"version": 1, "images": {}, "projects": {"proxy.quay.io": entry}})
    path = f"{HERE}/configmaps/{NAME}-quarantine"
    await release.patch(path, {"data": {"quarantine.json": text}})


async def configuration_gone(release):
    await release.client.delete(CONFIGURATION)


async def label_mistyped(release):
    labels = {"metadata": {"labels": {"harbor-cache.io/mode": "enforced"}}}
    await release.patch("/api/v1/namespaces/shop", labels)


async def version_skew(release):
    next(iter(release.statuses.values()))["version"] = "0.0.9"


BROKEN = {
    harbor_dead: ("harbor-unavailable", "Harbor is unavailable"),
    replica_dead: (
        "replica-dead",
        "2 of 3 replicas of the webhook work (webhook-1: CrashLoopBackOff",
    ),
    bundle_emptied: ("ca-bundle-empty", "caBundle"),
    wrong_pair: ("wrong-serving-pair", "none of the authorities in caBundle signed it"),
    fence_deleted: ("fence-gone", f"fence {NAME}-controller-pods"),
    rules_differ: ("fence-differs", "rendered from other rules than the config has"),
    lease_released: ("lease-without-holder", f"No controller holds the Lease {NAME}-controller"),
    config_refused: (
        "config-refused",
        "The config is refused: ConfigMap harbor-cache/harbor-cache-webhook: ",
    ),
    project_suspended: ("project-suspended", "Project proxy.quay.io is suspended"),
    configuration_gone: (
        "webhook-configuration-gone",
        f"MutatingWebhookConfiguration {NAME} is gone",
    ),
    label_mistyped: (
        "label-mistyped",
        "Namespace shop has the label harbor-cache.io/mode=enforced",
    ),
    version_skew: ("version-skew", "0.0.9"),
}


async def test_each_broken_state_is_named_first(release):
    """Whatever one thing is broken stands in the first three lines, with exit code 1."""
    healthy = copy.deepcopy(release.statuses)
    for breaking, (name, words) in BROKEN.items():
        saved = await snapshot(release)
        await breaking(release)
        look = await release.look()
        document = json.loads((await release.look("-o", "json")).stdout)

        assert 1 == look.exit_code, breaking.__name__
        assert words in "\n".join(look.stdout.splitlines()[:3]), look.stdout
        assert [name] == [problem["name"] for problem in document["problems"]]
        assert all(problem["advice"] for problem in document["problems"])
        release.statuses.clear()
        release.statuses.update(copy.deepcopy(healthy))
        await restore(release, saved)


async def snapshot(release):
    paths = [
        CONFIGURATION,
        f"{ADMISSION}/validatingadmissionpolicies/{NAME}-controller-pods",
        LEASE,
        f"{HERE}/configmaps/{NAME}",
        f"{HERE}/configmaps/{NAME}-quarantine",
        f"{HERE}/pods/webhook-1",
        "/api/v1/namespaces/shop",
    ]
    return {path: await release.client.get(path) for path in paths}


async def restore(release, saved):
    for path, item in saved.items():
        now = await release.client.request("GET", path)
        item["metadata"].pop("managedFields", None)
        if item["kind"] == "Pod":
            status = {**item["status"], "containerStatuses": None}
            await release.patch(f"{path}/status", {"status": status})
        elif now.ok:
            item["metadata"]["resourceVersion"] = now.body["metadata"]["resourceVersion"]
            (await release.client.request("PUT", path, item)).expect()
        else:
            for key in ("resourceVersion", "uid"):
                del item["metadata"][key]
            (await release.client.create(item)).expect()


async def test_what_may_not_be_seen_is_no_all_clear(start_cluster):
    """Where there is no release, or it may not be read, the exit code is 2 with one sentence."""
    cluster = start_cluster(users={"nobody": ("nobodies",)})
    for user in ("admin", "nobody"):
        command = ["status", "--kubeconfig", str(cluster.kubeconfig(user))]
        look = await asyncio.to_thread(CliRunner().invoke, main, command)

        assert (2, "") == (look.exit_code, look.stdout)
        assert look.stderr.startswith("Error: ")
        assert 1 == look.stderr.count("\n")
