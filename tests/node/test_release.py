"""
The chart and the image on a real node: installed by helm, used, changed and taken away.
"""

import asyncio
import contextlib
import re
import time

import pytest

from tests.support.helm import render
from tests.support.kube.client import ApiClient, object_path
from tests.support.kube.creation import fail_open_count
from tests.support.kube.namespaces import namespaces
from tests.support.node.images import push_image
from tests.support.node.release import NAME, NAMESPACE, ReleaseSite
from tests.support.node.workloads import container_image, is_running, pod, wait_for_pods
from webhook.demo.standin import Fault


pytestmark = [pytest.mark.node, pytest.mark.slow]

_CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
_CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def _release_site(request, _equipped):
    with ReleaseSite() as running:
        push_image(running.upstream.host, "library/web:1")
        yield running
        running.keep = bool(request.session.testsfailed)


@pytest.fixture
async def client(_release_site):
    async with ApiClient(_release_site.cluster) as opened:
        yield opened


@pytest.fixture
async def site(_release_site, client):
    """
    Provide the site, with an empty restricted namespace for the release and nothing else in it.
    """
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": _RESTRICTED},
    }
    (await client.apply(namespace)).expect()
    yield _release_site
    with contextlib.suppress(AssertionError):
        _release_site.helm("uninstall", NAME, "--wait")
    # They would drain for 15 seconds; and `helm test`, where it failed, leaves its Pod on purpose.
    await client.request("DELETE", _PODS, query={"gracePeriodSeconds": "0"})
    await _wait("the release to be gone", lambda: _is_empty(client))


@pytest.fixture
async def make_namespace(site, client):
    async with namespaces(client, service_accounts=True) as make:
        yield make


async def _is_empty(client):
    return not (await client.get(_PODS))["items"]


async def _wait(what, ready, within=120.0):
    started = time.monotonic()
    while not await ready():
        if time.monotonic() > started + within:
            raise TimeoutError(f"Waited {within:.0f} s for {what}.")
        await asyncio.sleep(0.2)
    return time.monotonic() - started


async def _rewrites(client, site, namespace):
    answer = await client.create(pod(namespace, "web:1"), dry_run=True)
    return container_image(answer.expect()) == site.rewritten("web:1")


async def _keeps(client, site, namespace):
    return not await _rewrites(client, site, namespace)


async def _rolled_out(client, name):
    found = await client.get(f"{_DEPLOYMENTS}/{name}")
    status, wanted = found["status"], found["spec"]["replicas"]
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas") == wanted == status.get("availableReplicas")
        and status.get("replicas") == wanted
    )


async def _token(client, account):
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    return (await client.request("POST", path, request)).expect()["status"]["token"]


async def _may(site, client, account, namespace):
    """
    Return what `kubectl auth can-i --list` shows of an account, without what everybody may.
    """
    everybody = await _list_of(site, client, "default", namespace)
    return await _list_of(site, client, account, namespace) - everybody


async def _list_of(site, client, account, namespace):
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    async with ApiClient(site.cluster, token=await _token(client, account)) as opened:
        rules = (await opened.request("POST", path, review)).expect()["status"]["resourceRules"]
    return {
        (resource, name, verb)
        for rule in rules
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


async def test_from_nothing_to_a_rewritten_pod_and_back(site, client, make_namespace):
    """
    One helm install and one label make Pods pull through Harbor; leaving by NOTES leaves nothing.
    """
    namespace = await make_namespace("enforce")
    started = time.monotonic()
    site.install()
    await _wait("the first rewritten Pod", lambda: _rewrites(client, site, namespace))
    print(f"helm install to the first rewritten Pod: {time.monotonic() - started:.1f} s")
    (await client.create(pod(namespace, "web:1", "running"))).expect()
    found = await wait_for_pods(client, namespace, is_running)
    print(f"helm install to a Pod that runs through Harbor: {time.monotonic() - started:.1f} s")

    assert container_image(found[0]) == site.rewritten("web:1")
    await _wait("the webhook", lambda: _rolled_out(client, NAME))
    await _wait("the controller", lambda: _rolled_out(client, f"{NAME}-controller"))

    said = site.helm("test", NAME)

    assert "Phase:          Succeeded" in said

    await _check_an_upgrade(site, client, namespace)
    await _check_what_the_accounts_may(site, client)

    await _leave_as_notes_tell(site, client)
    started = time.monotonic()
    other = await make_namespace("enforce")
    answer = await client.create(pod(other, "web:1"))
    print(f"a Pod is created {time.monotonic() - started:.2f} s after the uninstall")

    assert container_image(answer.expect()) == "web:1"
    for item in render("--set", f"config.harbor.url={site.harbor.url}"):
        gone = await client.request("GET", object_path(item))

        assert gone.status == 404, (item["kind"], item["metadata"]["name"])
    for path in (_CONFIG_MAPS, _SECRETS, _LEASES):
        left = (await client.get(path))["items"]

        assert [] == [each["metadata"]["name"] for each in left if NAME in str(each)]


async def _leave_as_notes_tell(site, client):
    """
    Do what each command of NOTES does, in its order; helm's own is run as it stands.
    """
    notes = site.helm("get", "notes", NAME).partition("Leave for good")[2]
    label, pods, uninstall, delete = re.findall(r"^  \d\. (.+)$", notes, re.MULTILINE)

    assert (
        "kubectl label namespaces --selector harbor-cache.io/mode harbor-cache.io/mode-" == label
    )
    unlabel = {"metadata": {"labels": {"harbor-cache.io/mode": None}}}
    labelled = await client.get("/api/v1/namespaces", labelSelector="harbor-cache.io/mode")
    # That of `helm test` may be on its way out.
    active = [each for each in labelled["items"] if each["status"]["phase"] == "Active"]
    for each in active:
        path = f"/api/v1/namespaces/{each['metadata']['name']}"
        (await client.patch(path, unlabel, kind="merge-patch")).expect()

    assert "kubectl get pods --all-namespaces --selector harbor-cache.io/rewritten" == pods
    found = await client.get("/api/v1/pods", labelSelector="harbor-cache.io/rewritten")
    for metadata in (each["metadata"] for each in found["items"]):
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        (await client.delete(path)).expect()
    command, *arguments = uninstall.removesuffix(f" --namespace {NAMESPACE}").split()

    assert "helm" == command
    site.helm(*arguments, "--wait")
    assert f"kubectl --namespace {NAMESPACE} delete lease/{NAME}-controller" == delete
    (await client.delete(f"{_LEASES}/{NAME}-controller")).expect()


async def _check_an_upgrade(site, client, namespace):
    """
    Change a value and roll back; what the controller wrote stays.
    """
    quarantine = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-quarantine"
    data = {"data": {"note": "written by somebody"}}
    (await client.patch(quarantine, data, kind="merge-patch")).expect()
    before = {name: await client.get(f"{_SECRETS}/{NAME}-{name}") for name in ("ca", "tls")}
    bundle = (await client.get(_CONFIGURATION))["webhooks"][0]["clientConfig"]["caBundle"]

    async def rest():
        now = {name: await client.get(f"{_SECRETS}/{NAME}-{name}") for name in ("ca", "tls")}

        assert {k: v["data"] for k, v in now.items()} == {k: v["data"] for k, v in before.items()}
        assert (await client.get(quarantine))["data"]["note"] == "written by somebody"
        configuration = await client.get(_CONFIGURATION)
        assert configuration["webhooks"][0]["clientConfig"]["caBundle"] == bundle
        return configuration["webhooks"][0]["timeoutSeconds"]

    site.upgrade("--set", "timeoutSeconds=3", "--set", "webhook.replicas=2")

    assert await rest() == 3
    await _wait("the upgrade", lambda: _rolled_out(client, NAME))
    assert await _rewrites(client, site, namespace)

    site.helm("rollback", NAME, "1")

    assert await rest() == 2
    await _wait("the rollback", lambda: _rolled_out(client, NAME))
    assert await _rewrites(client, site, namespace)


async def _check_what_the_accounts_may(site, client):
    """
    Compare with the README: the webhook may nothing, the controller what stands there.
    """
    controller = f"{NAME}-controller"
    everywhere = {
        *(("pods", "", verb) for verb in ("get", "list", "watch", "patch")),
        *(("namespaces", "", verb) for verb in ("list", "watch")),
        ("events", "", "create"),
        *(("mutatingwebhookconfigurations", NAME, verb) for verb in ("get", "patch")),
    }
    at_home = {
        ("configmaps", "", "create"),
        ("leases", "", "create"),
        *(
            (resource, name, verb)
            for resource, name in (
                ("configmaps", f"{NAME}-quarantine"),
                ("secrets", f"{NAME}-ca"),
                ("secrets", f"{NAME}-tls"),
                ("leases", controller),
            )
            for verb in ("get", "update")
        ),
    }

    assert await _may(site, client, NAME, NAMESPACE) == set()
    assert await _may(site, client, controller, "default") == everywhere
    assert await _may(site, client, controller, NAMESPACE) == everywhere | at_home


class _Load:
    """
    Create Pods (dry runs) without pause, and count those that come out unmodified or refused.
    """

    def __init__(self, client, site, namespace):
        self._client, self._site, self._namespace = client, site, namespace
        self.created = 0
        self.trouble = []

    async def __aenter__(self):
        self._fail_open = await fail_open_count(self._client)
        self._tasks = [asyncio.create_task(self._run()) for _ in range(4)]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.failed_open = await fail_open_count(self._client) - self._fail_open

    async def _run(self):
        wanted = self._site.rewritten("web:1")
        while True:
            answer = await self._client.create(pod(self._namespace, "web:1"), dry_run=True)
            self.created += 1
            if not answer.ok or container_image(answer.body) != wanted:
                self.trouble.append(answer.body)
            await asyncio.sleep(0.02)


async def test_a_rolling_restart_is_not_noticed(site, client, make_namespace):
    """
    While the webhook's Pods are replaced one by one, every Pod is accepted and rewritten.
    """
    namespace = await make_namespace("enforce")
    site.install()
    await _wait("the first rewritten Pod", lambda: _rewrites(client, site, namespace))
    await _wait("the webhook", lambda: _rolled_out(client, NAME))
    stamp = {"kubectl.kubernetes.io/restartedAt": str(time.time())}
    restart = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    async with _Load(client, site, namespace) as load:
        (await client.patch(f"{_DEPLOYMENTS}/{NAME}", restart)).expect()
        took = await _wait("the restart", lambda: _rolled_out(client, NAME), within=300)
        # The last of the old ones drains.
        await asyncio.sleep(20)
    print(
        f"rolling restart: {took:.0f} s, {load.created} Pods,"
        f" {len(load.trouble)} not rewritten, {load.failed_open:.0f} failed open"
    )

    assert load.created > 100
    assert load.trouble == []
    assert load.failed_open == 0


async def test_what_is_emptied_is_repaired(site, client, make_namespace):
    """
    Emptied Secrets and an emptied caBundle never stop Pods, and the controller repairs them.
    """
    namespace = await make_namespace("enforce")
    site.install("--set", "webhook.replicas=1", "--set", "controller.replicas=1")
    await _wait("the first rewritten Pod", lambda: _rewrites(client, site, namespace))

    async def scale(replicas):
        scaled = {"spec": {"replicas": replicas}}
        path = f"{_DEPLOYMENTS}/{NAME}-controller"
        (await client.patch(path, scaled)).expect()

    async def no_controller():
        query = {"labelSelector": "app.kubernetes.io/component=controller"}
        return not (await client.get(f"/api/v1/namespaces/{NAMESPACE}/pods", **query))["items"]

    async def repaired():
        filled = [(await client.get(f"{_SECRETS}/{NAME}-{x}")).get("data") for x in ("ca", "tls")]
        entries = (await client.get(_CONFIGURATION))["webhooks"]
        return all(filled) and all("caBundle" in entry["clientConfig"] for entry in entries)

    await scale(0)
    await _wait("the controller to stop", no_controller)
    for name in ("ca", "tls"):
        empty = [{"op": "remove", "path": "/data"}]
        (await client.patch(f"{_SECRETS}/{NAME}-{name}", empty, kind="json-patch")).expect()
    # The pair that is mounted keeps serving.
    for _ in range(10):
        assert await _rewrites(client, site, namespace)
    empty = [{"op": "remove", "path": f"/webhooks/{i}/clientConfig/caBundle"} for i in (0, 1)]
    (await client.patch(_CONFIGURATION, empty, kind="json-patch")).expect()
    query = {"labelSelector": "app.kubernetes.io/component=webhook"}
    webhooks = await client.get(f"/api/v1/namespaces/{NAMESPACE}/pods", **query)
    for each in webhooks["items"]:
        await client.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{each['metadata']['name']}")
    started = time.monotonic()
    (await client.create(pod(namespace, "web:1"), dry_run=True)).expect()
    print(f"a Pod without any webhook: {time.monotonic() - started:.3f} s")
    await scale(1)

    async def back():
        return await _rolled_out(client, f"{NAME}-controller")

    await _wait("the controller", back)
    print(f"Secrets and caBundle repaired {await _wait('the repair', repaired):.1f} s after it is")
    took = await _wait("a rewritten Pod", lambda: _rewrites(client, site, namespace), within=240)
    print(f"and Pods are rewritten {took:.1f} s later")

    empty = [{"op": "remove", "path": f"/webhooks/{i}/clientConfig/caBundle"} for i in (0, 1)]
    (await client.patch(_CONFIGURATION, empty, kind="json-patch")).expect()
    took = await _wait("the repair", repaired, within=30)
    print(f"an emptied caBundle is repaired after {took:.1f} s")


async def test_an_existing_secret(site, client, make_namespace, tmp_path):
    """
    With a Secret of one's own, and no controller at all, Pods are rewritten, and served by it.
    """
    import base64  # noqa: PLC0415

    import trustme  # noqa: PLC0415

    namespace = await make_namespace("enforce")
    authority = trustme.CA()
    pair = authority.issue_cert(f"{NAME}.{NAMESPACE}.svc")
    chain = b"".join(each.bytes() for each in pair.cert_chain_pems)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pair", "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": base64.b64encode(chain).decode(),
            "tls.key": base64.b64encode(pair.private_key_pem.bytes()).decode(),
        },
    }
    (await client.apply(secret)).expect()
    (tmp_path / "ca.crt").write_bytes(authority.cert_pem.bytes())
    started = time.monotonic()
    site.install(
        *("--set", "tls.mode=existingSecret,tls.existingSecret=pair,controller.enabled=false"),
        *("--set-file", f"tls.caBundle={tmp_path / 'ca.crt'}"),
    )
    await _wait("the first rewritten Pod", lambda: _rewrites(client, site, namespace))
    print(f"helm install to the first rewritten Pod: {time.monotonic() - started:.1f} s")

    assert "Phase:          Succeeded" in site.helm("test", NAME)


async def test_helm_test_says_that_harbor_is_unavailable(site, client, make_namespace):
    """
    With Harbor gone helm test fails, and its Pod says why.
    """
    namespace = await make_namespace("enforce")
    site.install()
    await _wait("the first rewritten Pod", lambda: _rewrites(client, site, namespace))
    site.harbor.set_fault(Fault.REFUSED)
    try:
        await _wait("images to be left alone", lambda: _keeps(client, site, namespace))
        started = time.monotonic()
        with pytest.raises(AssertionError, match=r"Phase: +Failed"):
            site.helm("test", NAME)
    finally:
        site.harbor.set_fault(Fault.NONE)
    print(f"helm test fails after {time.monotonic() - started:.1f} s")
    failed = await client.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{NAME}-test")
    (container,) = failed["status"]["containerStatuses"]

    assert (
        "Harbor can't serve, so images are kept" in (container["state"]["terminated"]["message"])
    )
