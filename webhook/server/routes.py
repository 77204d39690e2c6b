"""
The HTTP routes of the business port: reviews.

What is no review gets 400, 408, 413 or 415 with one sentence, never 5xx and never ``Retry-After``
(which would make the API server call again and again within its timeout).  The API server takes
all of these as a failed call and admits the Pod as it is.
"""

import time

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from aiohttp import web

from webhook.admission.admit import admit
from webhook.admission.respond import respond
from webhook.admission.review import read_review
from webhook.errors import InvalidReviewError
from webhook.image.availability import Availability
from webhook.pod.decision import Mode, Policy
from webhook.process.metrics import WebhookMetrics
from webhook.server.connections import Connections
from webhook.server.limits import MAX_BODY_BYTES, Bodies
from webhook.server.telemetry import record, record_invalid


__all__ = ["Knowledge", "Service", "business_app"]

_log = structlog.get_logger()


class Knowledge(Protocol):
    """
    What decisions are made from, in memory.
    """

    @property
    def policy(self) -> Policy:
        """
        Return what the config says about Pods.
        """

    def availability(self) -> Availability:
        """
        Return what is known of Harbor now.
        """


@dataclass
class Service:
    """
    What the routes share.

    Attributes:
        knowledge: what decisions are made from.
        metrics: what counts them.
        draining: set when the process is about to end: every answer then asks the client to
            open its next connection elsewhere.
        connections: the open connections of the business port.
        bodies: reads what is sent there.
    """

    knowledge: Knowledge
    metrics: WebhookMetrics
    draining: bool = False
    connections: Connections = field(default_factory=Connections)
    bodies: Bodies = field(default_factory=Bodies)


_SERVICE: Final = web.AppKey("service", Service)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def business_app(service: Service) -> web.Application:
    """
    Return the routes that the API server calls.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_never_5xx])
    app[_SERVICE] = service
    app.router.add_post("/mutate", _mutate)
    app.router.add_post("/audit", _audit)
    return app


@web.middleware
async def _never_5xx(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """
    Turn every failure into a plain 4xx, and say goodbye while draining.
    """
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = _refuse(request, error.status, error.text or error.reason)
        response.headers.update({k: v for k, v in error.headers.items() if k == "Allow"})
    except ConnectionResetError:  # It went away; this is for nobody.
        response = _refuse(request, HTTPStatus.BAD_REQUEST, "the connection was lost")
    except Exception as error:  # noqa: BLE001 - the client gets a sentence, the log the rest.
        _log.error("request failed", error=type(error).__name__, exc_info=True)
        response = _refuse(request, HTTPStatus.BAD_REQUEST, "the request could not be handled")
    if request.app[_SERVICE].draining:
        response.force_close()
    return response


def _refuse(request: web.Request, status: int, sentence: str) -> web.Response:
    response = web.Response(status=status, text=sentence.strip() + "\n")
    if not request.content.is_eof():
        response.force_close()  # The rest of the body is not wanted.
    return response


async def _mutate(request: web.Request) -> web.StreamResponse:
    return await _review(request, "enforce")


async def _audit(request: web.Request) -> web.StreamResponse:
    return await _review(request, "audit")


async def _review(request: web.Request, mode: Mode) -> web.StreamResponse:
    service = request.app[_SERVICE]
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="the content type must be application/json")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(text="compressed bodies are not read")
    size = MAX_BODY_BYTES if request.content_length is None else request.content_length
    if size > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(
            MAX_BODY_BYTES, size, text=f"a review has at most {MAX_BODY_BYTES} bytes"
        )
    body = b""
    try:
        if request.content.is_eof():  # It is all there, as with most reviews.
            body = await request.read()
            response = _answer(service, body, mode)
        else:
            async with service.bodies.read(request, size) as body:
                response = _answer(service, body, mode)
        service.connections.found_useful(request.protocol)
        return response
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body did not arrive in time") from None
    except InvalidReviewError as error:
        record_invalid(service.metrics, mode, str(error), len(body))
        raise web.HTTPBadRequest(text=str(error)) from None


def _answer(service: Service, body: bytes, mode: Mode) -> web.Response:
    """
    Decide, count and log; from here on nothing waits.
    """
    started = time.perf_counter()
    review = read_review(body)
    knowledge = service.knowledge
    admission = admit(review, knowledge.policy, knowledge.availability(), mode)
    answer = respond(review, admission)
    record(service.metrics, review.request, answer.admission, time.perf_counter() - started)
    return web.Response(body=answer.body, content_type="application/json")
