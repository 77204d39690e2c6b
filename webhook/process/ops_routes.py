"""
The ops port of either process: health, metrics, and what is going on.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from webhook.process.bounded_port import Handler, Limits


__all__ = ["OPS_LIMITS", "ops_handler"]

OPS_LIMITS: Final = Limits(connections=128, first_request_seconds=5.0)
"""
The kubelet opens a connection per probe, Prometheus keeps one.
"""


def ops_handler(
    registry: CollectorRegistry,
    *,
    unready: Callable[[], str],
    status: Callable[[], Mapping[str, Any]],
) -> Handler:
    """
    Return what answers ``/livez``, ``/readyz``, ``/metrics`` and ``/status``.

    *unready* says why this process is of no use now, or returns an empty string; *status* is all
    that it knows, for people: nothing reads that JSON back.
    """

    def livez() -> web.Response:
        return web.Response(text="ok\n")

    def readyz() -> web.Response:
        why = unready()
        code = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
        return web.Response(text=f"{why or 'ok'}\n", status=code)

    def metrics() -> web.Response:
        text = generate_latest(registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def show() -> web.Response:
        return web.json_response(status())

    pages = {"/livez": livez, "/readyz": readyz, "/metrics": metrics, "/status": show}

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        page = pages.get(request.raw_path.partition("?")[0])
        if page is None:
            return web.Response(text="not found\n", status=HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            sentence, allow = "only GET\n", {"Allow": "GET, HEAD"}
            return web.Response(text=sentence, status=HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
        return page()

    return handle
