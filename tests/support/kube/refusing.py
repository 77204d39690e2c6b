"""
A validating webhook that refuses every change of a Pod's image, without a code, as many do.
"""

import asyncio
import ssl

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trustme

from aiohttp import web

from tests.support.kube.client import ApiClient, object_path


__all__ = ["refusing"]


@asynccontextmanager
async def refusing(
    client: ApiClient, namespace: str, *, after: float = 0.0
) -> AsyncIterator[None]:
    """
    Refuse all updates of Pods in *namespace*, with the status that the API server makes of it: 400.

    It takes *after* seconds to say so.
    """

    async def review(request: web.Request) -> web.Response:
        await asyncio.sleep(after)
        uid = (await request.json())["request"]["uid"]
        response = {"uid": uid, "allowed": False, "status": {"message": "only our registry"}}
        head = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        return web.json_response({**head, "response": response})

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    app.router.add_post("/", review)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"refusing-{namespace}"},
        "webhooks": [
            {
                "name": "images.policy.example",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {
                    "url": url,
                    "caBundle": b64encode(authority.cert_pem.bytes()).decode(),
                },
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                        "operations": ["UPDATE"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }
        ],
    }
    try:
        (await client.create(configuration)).expect()
        yield
    finally:
        await client.delete(object_path(configuration))
        await runner.cleanup()
