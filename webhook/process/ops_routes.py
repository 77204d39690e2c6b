"""
The ops port of either process: health, metrics, and what is going on.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


__all__ = ["ops_app"]


def ops_app(
    registry: CollectorRegistry,
    *,
    unready: Callable[[], str],
    status: Callable[[], Mapping[str, Any]],
) -> web.Application:
    """
    Return the routes ``/livez``, ``/readyz``, ``/metrics`` and ``/status``.

    *unready* says why this process is of no use now, or returns an empty string; *status* is all
    that it knows, for people: nothing reads that JSON back.
    """

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        why = unready()
        code = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
        return web.Response(text=f"{why or 'ok'}\n", status=code)

    async def metrics(_: web.Request) -> web.Response:
        text = generate_latest(registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def show(_: web.Request) -> web.Response:
        return web.json_response(status())

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            web.get("/status", show),
        ]
    )
    return app
