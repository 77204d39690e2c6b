"""
What the other tests here stand on: the cluster, the registration of webhooks, the balancer.
"""

import asyncio
import base64
import json
import ssl

from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme

from aiohttp import web

from tests.support.kube.audit import wait_for_audit_event
from tests.support.kube.balancer import Backend, Balancer
from tests.support.kube.client import ApiClient
from tests.support.kube.registration import registered, webhook_configuration


pytestmark = pytest.mark.kube


def _pod(namespace, name="web", image="nginx:1"):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "web", "image": image}]},
    }


@asynccontextmanager
async def _marking_webhook():
    """
    Serve a webhook over TLS that adds a label to each Pod; yield its URL and CA.
    """

    async def mark(request):
        uid = (await request.json())["request"]["uid"]
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]
        response = {
            "uid": uid,
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
        }
        return web.json_response(
            {
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": response,
            }
        )

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    application = web.Application()
    application.router.add_post("/mutate", mark)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        yield url, authority.cert_pem.bytes()
    finally:
        await runner.cleanup()


async def test_registered_webhook_is_called(cluster, client, make_namespace):
    """
    A registered webhook sees the Pods of a labelled namespace, and the audit log tells it.
    """
    labelled, other = await make_namespace("enforce"), await make_namespace()
    async with (
        _marking_webhook() as (url, ca),
        registered(client, webhook_configuration(url, ca)),
    ):
        seen = (await client.create(_pod(labelled))).expect()
        unseen = (await client.create(_pod(other))).expect()
        dry = (await client.create(_pod(labelled, "dry"), dry_run=True)).expect()
    event = await wait_for_audit_event(cluster, labelled, "create")
    later = (await client.create(_pod(labelled, "later"))).expect()

    assert {"seen": "yes"} == seen["metadata"]["labels"] == dry["metadata"]["labels"]
    assert "labels" not in unseen["metadata"]
    assert "labels" not in later["metadata"]
    assert any(key.startswith("patch.webhook") for key in event["annotations"])


async def test_namespace_needs_no_service_account(client, make_namespace):
    """
    A Pod is accepted although nobody makes a default ServiceAccount.
    """
    namespace = await make_namespace()

    assert (await client.create(_pod(namespace))).status == 201


async def test_api_server_restarts_on_its_port(start_cluster):
    """
    A restarted API server has the same URL, tokens and objects; a further user has its groups.
    """
    cluster = start_cluster(users={"reader": ["readers"]})
    async with ApiClient(cluster) as client, ApiClient(cluster, "reader") as reader:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}}
        (await client.create(namespace)).expect()
        await asyncio.to_thread(cluster.stop_api_server)
        with pytest.raises(aiohttp.ClientError):
            await client.get("/api/v1/namespaces/kept")
        await asyncio.to_thread(cluster.start_api_server)

        assert (await client.get("/api/v1/namespaces/kept"))["metadata"]["name"] == "kept"
        assert (await reader.request("GET", "/api/v1/namespaces/kept")).status == 403


@asynccontextmanager
async def _backend(name, ready):
    async def serve(reader, writer):
        writer.write(f"{name}\n".encode())
        await writer.drain()
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def readiness(_):
        return web.Response(status=200 if ready.is_set() else 503)

    application = web.Application()
    application.router.add_get("/readyz", readiness)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Backend(
            server.sockets[0].getsockname()[1],
            f"http://127.0.0.1:{runner.addresses[0][1]}/readyz",
        )
    finally:
        server.close()
        await runner.cleanup()


async def test_balancer_follows_readiness():
    """
    New connections go in turn to ready backends only; those that are open stay where they are.
    """

    async def connect():
        reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
        return (await reader.readline()).decode().strip(), reader, writer

    ready = {"one": asyncio.Event(), "two": asyncio.Event()}
    for event in ready.values():
        event.set()
    async with (
        _backend("one", ready["one"]) as one,
        _backend("two", ready["two"]) as two,
        Balancer([one, two], period=0.02) as balancer,
    ):
        await balancer.all_ready()
        both = [await connect() for _ in range(4)]
        names = [name for name, _, _ in both]
        ready["one"].clear()
        while len(balancer.ready) > 1:
            await asyncio.sleep(0.02)
        later = [await connect() for _ in range(3)]
        echoes = []
        for _, reader, writer in both:
            writer.write(b"still here\n")
            echoes.append(await reader.readline())
        for _, _, writer in [*both, *later]:
            writer.close()

    assert sorted(names) == ["one", "one", "two", "two"]
    assert [name for name, _, _ in later] == ["two"] * 3
    assert echoes == [b"still here\n"] * 4
