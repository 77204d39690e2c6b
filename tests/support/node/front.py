"""
What stands in front of a registry: it counts who asks, and it fails as registries do.
"""

import asyncio
import contextlib
import json
import threading

from collections import Counter
from collections.abc import Coroutine, Mapping
from enum import Enum
from typing import Any, Final, Self

import aiohttp

from aiohttp import web
from multidict import CIMultiDict

from webhook.demo.cluster import free_port
from webhook.demo.listening import Listening


__all__ = ["Front", "Trouble"]

_CHUNK: Final = 64 * 1024
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})

# Docker Hub's words, as containerd and the kubelet get to see them.
_LIMITED: Final = {
    "errors": [
        {
            "code": "TOOMANYREQUESTS",
            "message": "You have reached your unauthenticated pull rate limit. "
            "https://www.docker.com/increase-rate-limit",
        }
    ]
}
_ABSENT: Final = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
_PAGE: Final = "<!DOCTYPE html><html><body>Sign in</body></html>"


class Trouble(Enum):
    """
    What the upstream does wrong, with every image or with one.
    """

    NONE = "none"
    LIMITED = "limited"
    """429 to every request for a manifest, as Docker Hub counts pulls."""
    REFUSED = "refused"
    """Nothing listens."""
    HANGS = "hangs"
    """Requests are read, and never answered."""
    ABSENT = "absent"
    """404 to every request for a manifest: the image is gone."""
    DENIED = "denied"
    """403 to every request for a manifest."""
    LOCKED = "locked"
    """401 with no way to a token."""
    BROKEN = "broken"
    """500 to every request for a manifest."""
    CLOSED = "closed"
    """503 to every request for a manifest, with a page as proxies write it."""
    DROPPED = "dropped"
    """The connection ends before there is an answer."""
    PAGE = "page"
    """200 with a login page in place of a manifest."""
    TORN = "torn"
    """Blobs end in the middle."""


def _json(status: int, body: Any) -> dict[str, Any]:
    return {"status": status, "text": json.dumps(body), "content_type": "application/json"}


_REFUSALS: Final[dict[Trouble, dict[str, Any]]] = {
    Trouble.LIMITED: _json(429, _LIMITED),
    Trouble.ABSENT: _json(404, _ABSENT),
    Trouble.DENIED: _json(403, {"errors": [{"code": "DENIED", "message": "requested access"}]}),
    Trouble.LOCKED: _json(401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}),
    Trouble.BROKEN: _json(500, {"errors": [{"code": "UNKNOWN", "message": "unknown"}]}),
    Trouble.CLOSED: {"status": 503, "text": _PAGE, "content_type": "text/html"},
    Trouble.PAGE: {"status": 200, "text": _PAGE, "content_type": "text/html"},
}


class Front:
    """
    A reverse proxy on loopback in a thread of its own, on a port that it keeps.

    `trouble` may be set from any thread; `set_trouble` also closes or opens the port; `of` names
    the trouble of single repositories.  `slow` makes every blob take that many seconds.
    `requests` counts, by method and kind (`manifest` or `blob`), what reached the registry's door,
    refused ones included.
    """

    def __init__(self, behind: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.trouble = Trouble.NONE
        self.of: dict[str, Trouble] = {}
        self.slow = 0.0
        self.requests: Counter[str] = Counter()
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._listening: Listening | None = None
        self._session: aiohttp.ClientSession | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set_trouble(self, trouble: Trouble) -> None:
        """
        Let something go wrong, or right again.
        """
        self.trouble = trouble
        self._call(self._stop() if trouble is Trouble.REFUSED else self._start())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _start(self) -> None:
        if self._listening is not None:
            return
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._listening = Listening(web.Server(self._handle))
        await self._listening.open("127.0.0.1", self.port)

    async def _stop(self) -> None:
        if self._listening is None or self._session is None:
            return
        listening, self._listening = self._listening, None
        await listening.close()
        await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        kind = next((k for k in ("manifest", "blob") if f"/{k}s/" in request.path), "")
        if kind:
            self.requests[f"{request.method} {kind}"] += 1
        repository = request.path.removeprefix("/v2/").partition(f"/{kind}s/")[0]
        trouble = self.of.get(repository, self.trouble) if kind else self.trouble
        if trouble is Trouble.HANGS:
            await asyncio.Event().wait()
        if kind == "manifest":
            if trouble is Trouble.DROPPED:
                return _abort(request)
            if answer := _REFUSALS.get(trouble):
                return web.Response(**answer)
        torn = kind == "blob" and trouble is Trouble.TORN
        return await self._forward(request, slowly=self.slow if kind == "blob" else 0, torn=torn)

    async def _forward(
        self, request: web.BaseRequest, *, slowly: float, torn: bool
    ) -> web.StreamResponse:
        assert self._session is not None
        headers = _kept(request.headers)
        try:
            answer = await self._session.request(
                request.method,
                f"{self._behind}{request.path_qs}",
                headers=headers,
                allow_redirects=False,
            )
        except aiohttp.ClientError:
            return _abort(request)  # The registry behind is gone: so is this.
        async with answer:
            response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            await response.prepare(request)
            if torn:
                return _abort(request, response)
            with contextlib.suppress(ConnectionError):  # The client has had enough.
                if request.method != "HEAD":
                    await self._pass_on(answer, response, slowly)
                await response.write_eof()
            return response

    async def _pass_on(
        self, answer: aiohttp.ClientResponse, response: web.StreamResponse, slowly: float
    ) -> None:
        size = max(1, answer.content_length or _CHUNK)
        async for chunk in answer.content.iter_chunked(_CHUNK):
            if slowly:
                await asyncio.sleep(slowly * len(chunk) / size)
            await response.write(chunk)


def _abort(
    request: web.BaseRequest, response: web.StreamResponse | None = None
) -> web.StreamResponse:
    """
    End the connection, whatever has been said on it.
    """
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response(status=502)


def _kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """
    Return the headers that go on; a client sends several that are called Accept.
    """
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in _HOP_BY_HOP)
