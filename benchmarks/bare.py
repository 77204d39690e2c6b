"""
The limit of the stack: an aiohttp handler over TLS that reads the body and answers a constant.

`python -m benchmarks.bare PORT CERTIFICATE KEY [parse]`; with `parse`, the body is read as an
admission review as well: the least that any webhook in Python has to do.
"""

import asyncio
import json
import ssl
import sys

from aiohttp import web

from webhook.admission.review import read_review


_ANSWER = json.dumps(
    {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": True},
    }
).encode()


async def _constant(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=_ANSWER, content_type="application/json")


async def _parse(request: web.Request) -> web.Response:
    read_review(await request.read())
    return web.Response(body=_ANSWER, content_type="application/json")


async def _serve(port: int, certificate: str, key: str, *what: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    app = web.Application(client_max_size=10 * 1024 * 1024)
    app.router.add_post("/mutate", _parse if what else _constant)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
