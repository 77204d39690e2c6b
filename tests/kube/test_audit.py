"""
`harbor-cache audit` against a real API server full of Pods.
"""

import asyncio
import csv
import io
import json
import os
import ssl
import sys
import time

from pathlib import Path

import aiohttp
import pytest
import trustme

from aiohttp import web
from click.testing import CliRunner

from tests.support.fleet import HOSTILE, fill
from tests.support.kube.addresses import own_address
from tests.support.kube.client import ApiClient, object_path
from tests.support.kube.registration import webhook_configuration
from webhook.cli import main


pytestmark = pytest.mark.kube
EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
POLICY = "only-docker-io"
CONFIG = {
    "apiVersion": "harbor-cache.io/v1",
    "kind": "Config",
    "harbor": {"url": "https://harbor-cache.example.com"},
}


async def audit(*arguments, kubeconfig, environment=None, config=True):
    """
    Run the command as a process; return its exit code, both outputs, seconds and peak KiB.

    Without `config` it has to find one in the cluster.
    """
    if config:
        file = kubeconfig.parent / "audit.yaml"
        file.write_text(json.dumps(CONFIG))
        arguments = ("--config", file, *arguments)
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webhook", "audit", "--kubeconfig", str(kubeconfig)),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    peak = 0

    async def watch():
        nonlocal peak
        while process.returncode is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                return
            for line in lines:
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]))
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    output, errors = await asyncio.wait_for(process.communicate(), 300)
    await watching
    return process.returncode, output.decode(), errors.decode(), time.monotonic() - started, peak


@pytest.mark.slow
async def test_a_large_cluster_in_all_four_outputs(start_cluster, tmp_path):
    """Of 5,000 Pods in 40 namespaces every output tells what was counted while making them."""
    cluster = start_cluster()
    async with ApiClient(cluster) as client:
        fleet = await fill(client, prefix="team", namespaces=40, pods=5000)
    texts = {}
    for form in ("json", "csv", "table", "html"):
        code, text, errors, seconds, peak = await audit(
            "-o", form, kubeconfig=cluster.kubeconfig()
        )
        print(f"audit -o {form}: 5,000 Pods in {seconds:.1f} s, peak {peak / 1024:.0f} MiB")
        texts[form] = text

        assert (0, "") == (code, errors)

    document = json.loads(texts["json"])
    summary = document["summary"]
    teams = [n for n in document["namespaces"] if n["name"].startswith("team-")]

    assert document["complete"]
    assert 40 == len(teams)
    assert {
        "total": fleet.pods,
        "cached": fleet.cached,
        "restored": fleet.restored,
        "direct": fleet.pods - fleet.cached - fleet.restored,
    } == summary["pods"]
    assert fleet.uses == summary["uses"]
    assert fleet.would_rewrite == summary["wouldRewrite"]
    assert fleet.uses == sum(summary["reasons"].values())
    assert dict(fleet.pods_by_registry) == {
        r["registry"]: r["pods"]
        for r in document["registries"]
        if r["registry"] != "(no registry)"
    }
    assert fleet.with_secrets == sum(n["podsWithPullSecrets"] for n in teams)
    assert {"team-00": "enforce", "team-01": "audit", "team-02": "unknown", "team-04": "none"} == {
        n["name"]: n["mode"]
        for n in teams
        if n["name"] in ("team-00", "team-01", "team-02", "team-04")
    }
    kinds = {w["kind"] for w in document["workloads"] if w["namespace"] == "team-00"}

    assert {"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Pod"} == kinds

    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    running = sum(int(r["cached"]) + int(r["direct"]) + int(r["restored"]) for r in rows)

    assert fleet.uses == running
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "@"))]
    assert f"{fleet.pods} Pods of" in texts["table"]
    assert f"{fleet.would_rewrite} of {fleet.uses} image uses" in texts["table"]
    assert HOSTILE[0] not in texts["html"]
    assert "&lt;script&gt;alert(1)&lt;/<wbr>script&gt;" in texts["html"]
    assert not [form for form, text in texts.items() if "\x1b" in text or "\x07" in text]


async def test_preflight_names_the_policy_and_the_namespace(cluster, client, make_namespace):
    """A ValidatingAdmissionPolicy that allows docker.io alone is found before it hurts."""
    refusing = await make_namespace("enforce", labels={"images": "docker-io"})
    accepting = await make_namespace("audit")
    expression = "object.spec.containers.all(c, c.image.startsWith('docker.io/'))"
    for kind, spec in (
        (
            "ValidatingAdmissionPolicy",
            {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"images": "docker-io"}},
                    "resourceRules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": ["pods"],
                        }
                    ],
                },
                "validations": [{"expression": expression, "message": "docker.io only"}],
            },
        ),
        (
            "ValidatingAdmissionPolicyBinding",
            {"policyName": POLICY, "validationActions": ["Deny"]},
        ),
    ):
        thing = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind}
        (await client.create({**thing, "metadata": {"name": POLICY}, "spec": spec})).expect()
    try:
        await _until_refused(client, refusing)
        options = ("-o", "json", "--preflight", "-n", refusing, "-n", accepting)
        code, output, errors, *_ = await audit(*options, kubeconfig=cluster.kubeconfig())
    finally:
        root = "/apis/admissionregistration.k8s.io/v1"
        await client.delete(f"{root}/validatingadmissionpolicybindings/{POLICY}")
        await client.delete(f"{root}/validatingadmissionpolicies/{POLICY}")
    results = {r["namespace"]: r for r in json.loads(output)["preflight"]}

    assert (0, "") == (code, errors)
    assert "refused" == results[refusing]["outcome"]
    assert f"ValidatingAdmissionPolicy '{POLICY}'" == results[refusing]["policy"]
    assert "docker.io only" in results[refusing]["message"]
    assert "accepted" == results[accepting]["outcome"]
    assert [] == (await client.get(f"/api/v1/namespaces/{accepting}/pods"))["items"]


@pytest.fixture
async def kubelet(tmp_path):
    """
    Play a kubelet that says how it is configured, and nothing else; yield its address and port.
    """
    pair = trustme.CA().issue_cert("kubelet")
    pair.private_key_and_cert_chain_pem.write_to_path(tmp_path / "kubelet.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "kubelet.pem")

    async def configz(_):
        pulls = {"serializeImagePulls": False, "maxParallelImagePulls": 5}
        answer = web.json_response({"kubeletconfig": pulls})
        answer.force_close()  # The API server would keep the connection beyond this test.
        return answer

    application = web.Application()
    application.router.add_get("/configz", configz)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, own_address(), 0, ssl_context=context).start()
    yield runner.addresses[0][:2]
    await runner.cleanup()


async def test_preflight_asks_nodes_how_they_pull(start_cluster, kubelet):
    """Through the API server's proxy each kubelet is asked; one that does not answer is named."""
    cluster = start_cluster()
    async with ApiClient(cluster) as client:
        for name, (address, port) in (("up", kubelet), ("down", (kubelet[0], 9))):
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            (await client.create(node)).expect()
            status = {
                "addresses": [{"type": "InternalIP", "address": address}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            }
            path = f"/api/v1/nodes/{name}/status"
            (await client.patch(path, {"status": status})).expect()
    code, output, errors, *_ = await audit(
        "-o", "json", "--preflight", kubeconfig=cluster.kubeconfig()
    )
    document = json.loads(output)

    assert 0 == code
    assert [{"node": "up", "pullsAtOnce": 5}] == document["nodes"]
    assert ["how down pulls"] == [unseen["what"] for unseen in document["unseen"]]
    assert "Not seen: how down pulls: " in errors


async def _until_refused(client, namespace):
    """
    Wait until the API server has compiled the policy.
    """
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": {"containers": [{"name": "a", "image": "quay.io/a/b"}]},
    }
    deadline = time.monotonic() + 30
    while (await client.create(pod, dry_run=True)).ok:
        if time.monotonic() > deadline:
            raise TimeoutError("The policy does not take effect.")
        await asyncio.sleep(0.2)


async def test_what_may_not_be_listed_is_said(start_cluster):
    """Where one namespace can't be listed the survey goes on, and says what it could not see."""
    cluster = start_cluster(users={"viewer": ("viewers",)})
    async with ApiClient(cluster) as client:
        await fill(client, prefix="team", namespaces=2, pods=20)
        everything = [
            {"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["get", "list"]}
        ]
        names = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]}]
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        for role, rules in (("see", everything), ("names", names)):
            thing = {**rbac, "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules}
            (await client.create(thing)).expect()
        subject = [{"kind": "Group", "name": "viewers", "apiGroup": "rbac.authorization.k8s.io"}]
        for kind, role, where in (
            ("ClusterRoleBinding", "names", {}),
            ("RoleBinding", "see", {"namespace": "team-00"}),
        ):
            reference = {
                "kind": "ClusterRole",
                "name": role,
                "apiGroup": "rbac.authorization.k8s.io",
            }
            binding = {
                **rbac,
                "kind": kind,
                "metadata": {"name": role, **where},
                "subjects": subject,
                "roleRef": reference,
            }
            (await client.create(binding)).expect()
    code, output, errors, *_ = await audit("-o", "json", kubeconfig=cluster.kubeconfig("viewer"))
    document = json.loads(output)

    assert 0 == code
    assert not document["complete"]
    assert 10 == document["summary"]["pods"]["total"]
    assert "pods in team-01" in [unseen["what"] for unseen in document["unseen"]]
    assert 'Not seen: pods in team-01: pods is forbidden: User "viewer" cannot list' in errors
    assert "Traceback" not in errors


async def test_an_api_server_that_goes_away_halfway(cluster, client, make_namespace):
    """What was listed before the API server went away is shown, and the rest is named."""
    namespace = await make_namespace()
    (
        await client.create(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "web", "namespace": namespace},
                "spec": {
                    "selector": {"matchLabels": {"a": "b"}},
                    "template": {
                        "metadata": {"labels": {"a": "b"}},
                        "spec": {"containers": [{"name": "a", "image": "nginx"}]},
                    },
                },
            }
        )
    ).expect()
    async with _half_a_proxy(cluster, refuses="/statefulsets") as kubeconfig:
        code, output, errors, *_ = await audit(
            "-o", "json", "-n", namespace, kubeconfig=kubeconfig
        )
    document = json.loads(output)

    assert 0 == code
    assert [f"{kind} in {namespace}" for kind in ("statefulsets", "daemonsets")] == [
        unseen["what"] for unseen in document["unseen"]
    ][:2]
    assert f"pods in {namespace}" == document["unseen"][-1]["what"]
    assert ["web"] == [workload["name"] for workload in document["workloads"]]
    assert "Traceback" not in errors


class _half_a_proxy:  # noqa: N801 - used like a function.
    """
    A way to the API server that breaks off for good at the first path that ends in `refuses`.
    """

    def __init__(self, cluster, refuses):
        self._cluster, self._refuses = cluster, refuses
        self._broken = False

    async def __aenter__(self):
        self._session = aiohttp.ClientSession()
        application = web.Application()
        application.router.add_route("GET", "/{tail:.*}", self._pass_on)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        path = self._cluster.directory / "half.kubeconfig"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        user = {"name": "u", "user": {"token": self._cluster.tokens["admin"]}}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [cluster],
                    "users": [user],
                }
            )
        )
        return path

    async def __aexit__(self, *_):
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request):
        self._broken = self._broken or request.path.endswith(self._refuses)
        if self._broken:
            request.transport.abort()
            return web.Response()
        async with self._session.get(
            self._cluster.url + str(request.rel_url),
            headers={"Authorization": request.headers["Authorization"]},
            ssl=self._cluster.ssl_context(),
        ) as answer:
            body = await answer.read()
            return web.Response(body=body, status=answer.status, content_type=answer.content_type)


async def test_without_a_config_the_release_is_asked(cluster, client, make_namespace):
    """The config of the installed release is read from the cluster, and no placeholder is used."""
    namespace = await make_namespace()
    url = f"https://{namespace}.example"
    await client.create(_config_map(namespace, {"config.yaml": json.dumps(_config(url))}))
    configuration = _installed(namespace)
    (await client.create(configuration)).expect()
    try:
        code, output, errors, *_ = await audit(
            "-o", "json", "-n", namespace, kubeconfig=cluster.kubeconfig(), config=False
        )
    finally:
        await client.delete(object_path(configuration))
    document = json.loads(output)

    assert (0, "") == (code, errors)
    assert f"{namespace}.example" == document["harbor"]
    assert (f"release {namespace}/harbor-cache-webhook", "") == (
        document["configFrom"],
        document["placeholder"],
    )


async def test_a_placeholder_is_said_loudly(cluster, client, make_namespace):
    """Without a release and without --config, both outputs say that the Harbor is made up."""
    namespace = await make_namespace()
    code, output, errors, *_ = await audit(
        "-n", namespace, kubeconfig=cluster.kubeconfig(), config=False
    )

    assert 0 == code
    assert errors.startswith("Warning: no --config, and harbor-cache-webhook is not installed")
    assert "harbor-cache-webhook is not installed in this cluster\n" in output
    assert "harbor-cache.example.com is a placeholder" in output


def _config(url):
    return {**CONFIG, "harbor": {"url": url}}


def _config_map(namespace, data):
    metadata = {"name": "harbor-cache-webhook", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _installed(namespace):
    """
    Return a webhook configuration that asks a Service of *namespace*, which is not there.
    """
    configuration = webhook_configuration("https://127.0.0.1:9", b"")
    configuration["metadata"]["name"] = namespace
    for webhook in configuration["webhooks"]:
        service = {"name": "harbor-cache-webhook", "namespace": namespace}
        webhook["clientConfig"] = {"service": service}
    return configuration


@pytest.mark.parametrize(
    ("user", "arguments", "words"),
    [
        ({"token": "wrong"}, (), "does not accept these credentials"),
        (
            {"exec": {**EXEC, "command": "no-such-plugin"}},
            (),
            "no credentials can be had: [Errno 2] No such file or directory: 'no-such-plugin'",
        ),
        (None, ("-n", "typo"), "namespace typo: not found"),
        (None, ("--context", "typo"), "Expected object with name typo"),
    ],
)
async def test_where_nothing_can_be_listed_is_an_error(cluster, user, arguments, words):
    """A bad token, a missing plugin, a mistyped namespace or context: one line, exit code 1."""
    content = json.loads(cluster.kubeconfig().read_text())
    if user is not None:
        content["users"][0]["user"] = user
    kubeconfig = cluster.directory / "wrong.kubeconfig"
    kubeconfig.write_text(json.dumps(content))
    code, output, errors, *_ = await audit(*arguments, kubeconfig=kubeconfig)

    assert (1, "") == (code, output)
    assert words in errors
    assert 1 == errors.count("\n")


async def test_who_may_list_nothing_is_told(start_cluster):
    """A user without any rights gets an error instead of a survey of nothing."""
    cluster = start_cluster(users={"nobody": ("nobodies",)})
    code, output, errors, *_ = await audit(kubeconfig=cluster.kubeconfig("nobody"))

    assert (1, "") == (code, output)
    assert "nothing could be listed" in errors
    assert 1 == errors.count("\n")


async def test_a_finished_pod_counts_nowhere(cluster, client, make_namespace):
    """A Pod that has run to its end is in no number."""
    namespace = await make_namespace()
    for name, phase in (("done", "Succeeded"), ("failed", "Failed"), ("runs", "Running")):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"containers": [{"name": "a", "image": "nginx"}]},
        }
        (await client.create(pod)).expect()
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        (await client.patch(path, {"status": {"phase": phase}})).expect()
    _, output, *_ = await audit("-o", "json", "-n", namespace, kubeconfig=cluster.kubeconfig())

    assert 1 == json.loads(output)["summary"]["pods"]["total"]


async def test_no_api_server_is_one_line(tmp_path):
    """A missing kubeconfig is one clear line on standard error, with exit code 1."""
    path = tmp_path / "kubeconfig"
    code, output, errors, *_ = await audit(kubeconfig=path)

    assert (1, "") == (code, output)
    assert f"Error: {path}: No such file\n" == errors


async def test_an_api_server_that_does_not_answer_is_one_line(cluster):
    """Where nothing listens the error names the address, with exit code 1."""
    kubeconfig = cluster.kubeconfig(url="https://127.0.0.1:9")
    code, output, errors, *_ = await audit(kubeconfig=kubeconfig)
    cluster.kubeconfig()

    assert (1, "") == (code, output)
    assert errors.startswith("Error: https://127.0.0.1:9: can't be reached: ")
    assert 1 == errors.count("\n")


async def test_explain_shows_a_live_pod(cluster, client, make_namespace):
    """Each container of a live Pod shows its original, what it is now, and from where it comes."""
    namespace = await make_namespace()
    harbor = "harbor-cache.example.com/proxy.docker.io/library/nginx:1"
    records = {f"original.harbor-cache.io/{name}": "nginx:1" for name in ("a", "b")}
    images = {"a": harbor, "b": "nginx:1", "c": "ghcr.io/acme/app"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace, "annotations": records},
        "spec": {"containers": [{"name": n, "image": i} for n, i in images.items()]},
    }
    (await client.create(pod)).expect()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webhook", "explain", "-o", "json"),
        *("--pod", f"{namespace}/web", "--kubeconfig", str(cluster.kubeconfig())),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    rows = [json.loads(line) for line in output.splitlines()]

    assert [
        ("a", "nginx:1", harbor, "cached", "rule"),
        ("b", "nginx:1", "nginx:1", "restored", "rule"),
        ("c", "ghcr.io/acme/app", "ghcr.io/acme/app", "direct", "no-rule"),
    ] == [(r["name"], r["image"], r["current"], r["state"], r["reason"]) for r in rows]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (None, "it has no mode label, so nothing is rewritten there"),
        ("enforce", "enforce"),
        ("enforced", "unknown (the label must be enforce or audit)"),
    ],
)
async def test_explain_says_what_is_done_in_the_namespace(
    cluster, client, make_namespace, mode, words
):
    """The first line about a live Pod says what its namespace's label comes to."""
    labels = {"harbor-cache.io/mode": mode} if mode else {}
    namespace = await make_namespace(labels=labels)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"containers": [{"name": "a", "image": "nginx"}]},
    }
    (await client.create(pod)).expect()
    command = ["explain", "--pod", f"{namespace}/web", "--kubeconfig", str(cluster.kubeconfig())]
    result = await asyncio.to_thread(CliRunner().invoke, main, command)

    assert 0 == result.exit_code
    assert f"namespace     {namespace}: {words}" == result.stdout.splitlines()[0]
