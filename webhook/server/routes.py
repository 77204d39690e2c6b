"""
What the business port answers: reviews.

What is no review gets 4xx with one sentence, never 5xx and never ``Retry-After`` (which would make
the API server call again and again within its timeout).  The API server takes all of these as a
failed call and admits the Pod as it is.
"""

import time

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from aiohttp import web

from webhook.admission.answers import Answers
from webhook.admission.review import Body, read_review
from webhook.errors import InvalidReviewError
from webhook.image.availability import Availability
from webhook.pod.decision import Mode, Policy
from webhook.process.metrics import WebhookMetrics
from webhook.server.limits import MAX_BODY_BYTES, Bodies, BodyTooLargeError
from webhook.server.telemetry import record, record_invalid


__all__ = ["Knowledge", "Reviews"]

_MODES: Final[dict[str, Mode]] = {"/mutate": "enforce", "/audit": "audit"}
_JSON: Final = "application/json"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_LARGE: Final = f"a review has at most {MAX_BODY_BYTES} bytes"

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


class _Refusal(Exception):  # noqa: N818 - an answer, and no error of ours.
    """
    The answer to what is no review.
    """

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Reviews:
    """
    Answers reviews.

    Attributes:
        knowledge: what decisions are made from.
        metrics: what counts them.
        draining: set when the process is about to end: every answer then asks the client to
            open its next connection elsewhere.
        bodies: reads what is sent.
        answers: answers what they hold.
    """

    knowledge: Knowledge
    metrics: WebhookMetrics
    draining: bool = False
    bodies: Bodies = field(default_factory=Bodies)
    answers: Answers = field(default_factory=Answers)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer a request, whatever it is.
        """
        try:
            response = await self._review(request)
        except _Refusal as refusal:
            response = _refuse(request, refusal.status, str(refusal))
        except ConnectionResetError:  # It went away; this is for nobody.
            response = _refuse(request, HTTPStatus.BAD_REQUEST, "the connection was lost")
        except Exception as error:  # noqa: BLE001 - the client gets a sentence, the log the rest.
            _log.error("request failed", error=type(error).__name__, exc_info=True)
            response = _refuse(request, HTTPStatus.BAD_REQUEST, "the request could not be handled")
        if self.draining:
            response.force_close()
        return response

    async def _review(self, request: web.BaseRequest) -> web.Response:
        mode = _MODES.get(request.raw_path.partition("?")[0])
        if mode is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "reviews go to /mutate or /audit")
        if request.method != "POST":
            raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "reviews are sent by POST")
        headers = request.headers
        if headers.get("Content-Type") != _JSON and request.content_type != _JSON:
            raise _Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json"
            )
        if headers.get("Content-Encoding", "identity") != "identity":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not read")
        content, size = request.content, request.content_length
        size = MAX_BODY_BYTES if size is None else size
        if size > MAX_BODY_BYTES:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE)
        body: Body = b""
        try:
            if content.is_eof():  # It is all there, as with most reviews.
                body = content.read_nowait()
                return self._answer(body, mode)
            if headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(_CONTINUE)
                request.writer.output_size = 0  # aiohttp takes it for a part of the answer.
            async with self.bodies.read(content, size) as body:
                return self._answer(body, mode)
        except TimeoutError:
            raise _Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time") from None
        except BodyTooLargeError:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE) from None
        except InvalidReviewError as error:
            record_invalid(self.metrics, mode, str(error), len(body))
            raise _Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None

    def _answer(self, body: Body, mode: Mode) -> web.Response:
        """
        Decide, count and log; from here on nothing waits.
        """
        started = time.perf_counter()
        review = read_review(body)
        knowledge = self.knowledge
        answer = self.answers.to(review, knowledge.policy, knowledge.availability(), mode)
        record(self.metrics, review.request, answer.admission, time.perf_counter() - started)
        return web.Response(body=answer.body, content_type=_JSON)


def _refuse(request: web.BaseRequest, status: HTTPStatus, sentence: str) -> web.Response:
    response = web.Response(status=status, text=sentence.strip() + "\n")
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = "POST"
    if not request.content.is_eof():
        response.force_close()  # The rest of the body is not wanted.
    return response
