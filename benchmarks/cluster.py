"""
What needs a real API server: recording reviews, and what a Pod's creation costs through it.
"""

import json
import ssl
import time

from pathlib import Path
from typing import Any, Final

import trustme

from aiohttp import web

from benchmarks.generator import percentile
from benchmarks.pods import PODS
from benchmarks.reviews import template
from benchmarks.servers import Server
from tests.support.kube.client import ApiClient
from tests.support.kube.registration import registered, webhook_configuration
from webhook.demo.cluster import Cluster


__all__ = ["creations", "record"]

_POLICY: Final = "harbor-cache-benchmark"
_HARBOR: Final = "harbor.example"
_PREFIXES: Final = ("docker.io", "quay.io", "gcr.io", "k8s.gcr.io")
_NAMESPACES: Final = {
    "no webhook": ("plain", {}),
    "MutatingAdmissionPolicy (CEL)": ("policy", {"benchmark": "policy"}),
    "harbor-cache, audit": ("audit", {"harbor-cache.io/mode": "audit"}),
    "harbor-cache": ("webhook", {"harbor-cache.io/mode": "enforce"}),
}


async def record(cluster: Cluster, directory: Path) -> dict[str, Path]:
    """
    Write templates of the reviews that the API server sends for `PODS` into files, by name.
    """
    bodies: list[bytes] = []

    async def keep(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        uid = json.loads(bodies[-1])["request"]["uid"]
        response = {"uid": uid, "allowed": True}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        return web.json_response(review | {"response": response})

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application(client_max_size=10 * 1024 * 1024)
    app.router.add_post("/mutate", keep)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    files = {}
    try:
        async with ApiClient(cluster) as client:
            await _namespace(client, "recording", {"harbor-cache.io/mode": "enforce"})
            configuration = webhook_configuration(url, authority.cert_pem.bytes())
            async with registered(client, configuration):
                for name, pod in PODS.items():
                    bodies.clear()
                    (await client.create(_in("recording", pod), dry_run=True)).expect()
                    files[name] = directory / f"{name.replace(' ', '-')}.json"
                    files[name].write_bytes(template(bodies[-1]))
    finally:
        await runner.cleanup()
    return files


async def creations(
    cluster: Cluster, server: Server, base: tuple[str, Server] | None, count: int
) -> dict[str, dict[str, float]]:
    """
    Create *count* typical Pods (dry run) in each of several namespaces, by turns, one at a time.

    *base* is the product at another commit, by its name.  Returns for each way p50, p99 and p999 in
    milliseconds, and how many images came out rewritten.
    """
    ways = dict(_NAMESPACES)
    if base:
        ways[base[0]] = ("base", {"benchmark": "base"})
    async with ApiClient(cluster) as client:
        for name, labels in ways.values():
            await _namespace(client, name, labels)
        for thing in (*_policy(), *([_configuration_of_base(base[1])] if base else ())):
            (await client.apply(thing)).expect()
        url = server.url.removesuffix("/mutate")
        async with registered(client, webhook_configuration(url, server.ca_bundle)):
            for name in ("policy", "webhook", *(["base"] if base else ())):
                await _wait_until_rewritten(client, name)
            return await _measure(client, ways, count)


def _configuration_of_base(base: Server) -> dict[str, Any]:
    url = base.url.removesuffix("/mutate")
    configuration = webhook_configuration(url, base.ca_bundle, name=f"{_POLICY}-base")
    _, enforce = configuration["webhooks"]
    # By another name: the calls of ours are counted by theirs.
    enforce |= {
        "name": "base.harbor-cache.io",
        "namespaceSelector": {"matchLabels": {"benchmark": "base"}},
    }
    return configuration | {"webhooks": [enforce]}


async def _measure(
    client: ApiClient, ways: dict[str, tuple[str, dict[str, str]]], count: int
) -> dict[str, dict[str, float]]:
    latencies: dict[str, list[float]] = {name: [] for name in ways}
    rewritten = dict.fromkeys(ways, 0)
    for number in range(count + 50):
        for name, (namespace, _) in ways.items():
            started = time.perf_counter()
            answer = await client.create(_in(namespace, PODS["typical"]), dry_run=True)
            milliseconds = (time.perf_counter() - started) * 1e3
            if number < 50:  # To warm up.
                continue
            latencies[name].append(milliseconds)
            rewritten[name] += _rewritten(answer.expect())
    return {
        name: {
            "p50": percentile(values, 0.5),
            "p99": percentile(values, 0.99),
            "p999": percentile(values, 0.999),
            "rewritten": rewritten[name] / count,
        }
        for name, values in latencies.items()
    }


def _rewritten(pod: dict[str, Any]) -> int:
    spec = pod["spec"]
    containers = [*spec["containers"], *spec.get("initContainers", ())]
    return sum("/proxy." in container["image"] for container in containers)


def _in(namespace: str, pod: dict[str, Any]) -> dict[str, Any]:
    return pod | {"metadata": pod["metadata"] | {"namespace": namespace}}


async def _namespace(client: ApiClient, name: str, labels: dict[str, str]) -> None:
    metadata = {"name": name, "labels": labels}
    (await client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).expect()


async def _wait_until_rewritten(client: ApiClient, namespace: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = await client.create(_in(namespace, PODS["typical"]), dry_run=True)
        if _rewritten(answer.expect()):
            return
    raise TimeoutError(f"Pods in the namespace {namespace} are not rewritten")


def _policy() -> list[dict[str, Any]]:
    """
    Return a policy that rewrites images as far as CEL goes, and its binding.
    """
    image = "c.image"
    for host in _PREFIXES:
        to = f"'{_HARBOR}/proxy.{host}/' + c.image.substring({len(host) + 1})"
        image = f"(c.image.startsWith('{host}/') ? {to} : {image})"
    image = f"(!c.image.contains('/') ? '{_HARBOR}/proxy.docker.io/library/' + c.image : {image})"

    def rewritten(place: str) -> str:
        item = f"Object.spec.{place}{{name: c.name, image: {image}}}"
        return f"{place}: object.spec.?{place}.orValue([]).map(c, {item})"

    spec = f"Object.spec{{{rewritten('containers')}, {rewritten('initContainers')}}}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    group = "admissionregistration.k8s.io/v1"
    policy = {
        "apiVersion": group,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": _POLICY},
        "spec": {
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"benchmark": "policy"}},
                "resourceRules": [rule | {"operations": ["CREATE"]}],
            },
            "mutations": [
                {
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": f"Object{{spec: {spec}}}"},
                }
            ],
        },
    }
    binding = {
        "apiVersion": group,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": _POLICY},
        "spec": {"policyName": _POLICY},
    }
    return [policy, binding]
