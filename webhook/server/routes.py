"""
The HTTP routes: reviews on the business port, health and metrics on the ops port.

What is no review gets 400, 408, 413 or 415 with one sentence, never 5xx and never ``Retry-After``
(which would make the API server call again and again within its timeout).  The API server takes
all of these as a failed call and admits the Pod as it is.
"""

import asyncio
import time

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from webhook.admission.admit import Admission, admit
from webhook.admission.respond import respond
from webhook.admission.review import Request, read_review
from webhook.errors import InvalidReviewError
from webhook.image.availability import Availability
from webhook.pod.decision import Mode, Policy
from webhook.process.logs import clean
from webhook.process.metrics import WebhookMetrics
from webhook.server.connections import Connections


__all__ = ["MAX_BODY_BYTES", "Knowledge", "Service", "business_app", "ops_app"]

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
"""
The largest review that is read: etcd's 1.5 MiB, six times over by HTML escapes, stays below.
"""

READ_SECONDS: Final = 10.0
"""
How long a client may take to send a large body, and to wait for its turn.
"""

SMALL_READ_SECONDS: Final = 3.0
"""
The same for a small one.  The API server itself waits two seconds in all.
"""

_LARGE_BODY_BYTES: Final = 256 * 1024
_LARGE_BODIES_BYTES: Final = 48 * 1024 * 1024
_SMALL_BODIES_BYTES: Final = 16 * 1024 * 1024
_MAX_WAITING: Final = 64
_MAX_LOGGED_IMAGES: Final = 20

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

    def status(self) -> dict[str, Any]:
        """
        Return the same for people, as JSON.
        """

    def unready(self) -> str:
        """
        Say why no reviews should come here, or return an empty string.
        """


class _Budget:
    """
    The bytes that bodies in flight may take together; who comes first is served first.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """
        Take *size* bytes for as long as the context lasts.
        """
        await self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    async def take(self, size: int) -> None:
        """
        Take *size* bytes, when they are free.

        Raises:
            TimeoutError: if so many wait already that it would take too long.
        """
        if len(self._waiting) >= _MAX_WAITING:
            raise TimeoutError
        if self._waiting or self._free < size:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give_back(size)
                raise
        else:
            self._free -= size

    def give_back(self, size: int) -> None:
        """
        Return *size* bytes that were taken.
        """
        self._free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.done():  # It gave up waiting.
                self._waiting.popleft()
                continue
            if wanted > self._free:
                return
            self._waiting.popleft()
            self._free -= wanted
            turn.set_result(None)


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
    """

    knowledge: Knowledge
    metrics: WebhookMetrics
    draining: bool = False
    connections: Connections = field(default_factory=Connections)
    large: _Budget = field(default_factory=lambda: _Budget(_LARGE_BODIES_BYTES))
    small: _Budget = field(default_factory=lambda: _Budget(_SMALL_BODIES_BYTES))

    @asynccontextmanager
    async def body(self, request: web.Request, size: int) -> AsyncIterator[bytes]:
        """
        Read a body of at most *size* bytes, which count for as long as the context lasts.

        Large ones never hold up small ones.  A large one gets all its room before it is read, or
        many half-read ones would wait for each other.  A small one takes room as it arrives: a
        promise alone holds none.

        Raises:
            TimeoutError: if the body did not arrive in time.
        """
        if size > _LARGE_BODY_BYTES:
            async with AsyncExitStack() as held:
                async with asyncio.timeout(READ_SECONDS):
                    await held.enter_async_context(self.large.hold(size))
                    body = await request.read()
                yield body
            return
        arrived = bytearray()
        try:
            async with asyncio.timeout(SMALL_READ_SECONDS):
                while chunk := await request.content.readany():
                    await self.small.take(len(chunk))
                    arrived += chunk
            yield bytes(arrived)
        finally:
            self.small.give_back(len(arrived))


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


def ops_app(service: Service) -> web.Application:
    """
    Return the routes for the kubelet, for Prometheus and for people.
    """
    app = web.Application()
    app[_SERVICE] = service
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/status", _status)
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
        response = _refuse(request, 400, "the connection was lost")
    except Exception as error:  # noqa: BLE001 - the client gets a sentence, the log the rest.
        _log.error("request failed", error=type(error).__name__, exc_info=True)
        response = _refuse(request, 400, "the request could not be handled")
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
            async with service.body(request, size) as body:
                response = _answer(service, body, mode)
        service.connections.found_useful(request.protocol)
        return response
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body did not arrive in time") from None
    except InvalidReviewError as error:
        service.metrics.reviews.labels(mode, "unknown", "invalid").inc()
        _log.warning("not a review", mode=mode, problem=clean(str(error)), bytes=len(body))
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
    try:
        _count(service.metrics, review.request, answer.admission, time.perf_counter() - started)
        _log.info("review", **_describe(review.request, answer.admission))
    except Exception as error:  # noqa: BLE001 - an answer is not lost because of its log line.
        _log.error("review not counted", error=type(error).__name__)
    return web.Response(body=answer.body, content_type="application/json")


def _count(
    metrics: WebhookMetrics, request: Request, admission: Admission, seconds: float
) -> None:
    operation = request.operation if request.operation in ("CREATE", "UPDATE") else "other"
    metrics.reviews_of(admission.mode, operation, admission.outcome).inc()
    metrics.review_duration_of(admission.mode).observe(seconds)
    for image in admission.images:
        metrics.images_of(image.registry, admission.outcome_of(image), image.reason).inc()


def _describe(request: Request, admission: Admission) -> dict[str, Any]:
    """
    Return what a log line says of a review; strings from the Pod are cut.
    """
    metadata = request.object.metadata if request.object else None
    name = request.name or (metadata and (metadata.name or metadata.generate_name)) or ""
    line: dict[str, Any] = {
        "mode": admission.mode,
        "operation": clean(request.operation),
        "namespace": clean(request.namespace or ""),
        "pod": clean(name),
        "uid": request.uid,
        "outcome": admission.outcome,
        "images": list(_describe_images(admission)),
    }
    if len(admission.images) > _MAX_LOGGED_IMAGES:
        line["more_images"] = len(admission.images) - _MAX_LOGGED_IMAGES
    if request.dry_run:
        line["dry_run"] = True
    if admission.message:
        line["message"] = clean(admission.message)
    return line


def _describe_images(admission: Admission) -> Iterator[dict[str, str]]:
    for image in admission.images[:_MAX_LOGGED_IMAGES]:
        line = {
            "name": clean(image.field.name),
            "image": clean(image.field.image),
            "outcome": admission.outcome_of(image),
            "reason": image.reason.value,
        }
        if image.result != image.field.image:
            line["result"] = image.result
        yield line


async def _livez(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    service = request.app[_SERVICE]
    reason = "shutting down" if service.draining else service.knowledge.unready()
    return web.Response(status=503 if reason else 200, text=f"{reason or 'ok'}\n")


async def _metrics(request: web.Request) -> web.Response:
    text = generate_latest(request.app[_SERVICE].metrics.registry)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _status(request: web.Request) -> web.Response:
    return web.json_response(request.app[_SERVICE].knowledge.status())
