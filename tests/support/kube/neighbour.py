"""
Another mutating webhook of the cluster, before or behind ours.
"""

import json
import ssl
import time

from asyncio import sleep
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import jsonpatch
import trustme

from aiohttp import web

from tests.support.kube.client import ApiClient, object_path


__all__ = ["neighbour"]

_WITHIN = 30.0  # Seconds.


@asynccontextmanager
async def neighbour(
    client: ApiClient,
    namespace: str,
    name: str,
    mutate: Callable[[dict[str, Any]], None],
    reinvocation: str = "IfNeeded",
) -> AsyncIterator[None]:
    """
    Hold a webhook in place that changes each new Pod of *namespace* in place by *mutate*.

    The API server calls webhooks in the order of the names of their configurations.
    """
    calls = []

    async def review(request: web.Request) -> web.Response:
        asked = (await request.json())["request"]
        after = deepcopy(asked["object"])
        mutate(after)
        calls.append(asked["uid"])
        patch = json.dumps(jsonpatch.make_patch(asked["object"], after).patch).encode()
        response = {
            "uid": asked["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": b64encode(patch).decode(),
        }
        head = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        return web.json_response(head | {"response": response})

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application(client_max_size=10 * 1024 * 1024)
    app.router.add_post("/", review)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    configuration = _configuration(url, authority.cert_pem.bytes(), namespace, name)
    configuration["webhooks"][0]["reinvocationPolicy"] = reinvocation
    try:
        (await client.create(configuration)).expect()
        deadline = time.monotonic() + _WITHIN
        while not calls:
            if time.monotonic() > deadline:
                raise TimeoutError("the API server has not taken in the other webhook")
            (await client.create(_pod(namespace), dry_run=True)).expect()
            await sleep(0.1)
        yield
    finally:
        await client.delete(object_path(configuration))
        await runner.cleanup()


def _configuration(url: str, ca_bundle: bytes, namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "mutate.neighbour.example",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "clientConfig": {"url": url, "caBundle": b64encode(ca_bundle).decode()},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                        "operations": ["CREATE"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }
        ],
    }


def _pod(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": {"containers": [{"name": "trial", "image": "trial.invalid/trial:1"}]},
    }
