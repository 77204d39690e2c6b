"""
What stands in front of the upstream registry: it counts who asks, and it fails as registries do.
"""

import asyncio
import threading

from collections import Counter
from collections.abc import Coroutine, Mapping
from enum import Enum
from typing import Any, Final, Self

import aiohttp

from aiohttp import web
from multidict import CIMultiDict

from webhook.demo.cluster import free_port


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


class Trouble(Enum):
    """
    What the upstream does wrong.
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


class Front:
    """
    A reverse proxy on loopback in a thread of its own, on a port that it keeps.

    `trouble` may be set from any thread; `set_trouble` also closes or opens the port.  `slow`
    stretches every blob to that many seconds.  `requests` counts, by method and kind (`manifest`
    or `blob`), what reached the upstream's door, refused ones included.
    """

    def __init__(self, behind: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.trouble = Trouble.NONE
        self.slow = 0.0
        self.requests: Counter[str] = Counter()
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._runner: web.ServerRunner | None = None
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
        if self._runner is not None:
            return
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _stop(self) -> None:
        if self._runner is None or self._session is None:
            return
        runner, self._runner = self._runner, None
        await runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        kind = "manifest" if "/manifests/" in request.path else "blob"
        if "/manifests/" in request.path or "/blobs/" in request.path:
            self.requests[f"{request.method} {kind}"] += 1
        if self.trouble is Trouble.HANGS:
            await asyncio.Event().wait()
        if kind == "manifest" and "/manifests/" in request.path:
            if self.trouble is Trouble.LIMITED:
                return web.json_response(_LIMITED, status=429)
            if self.trouble is Trouble.ABSENT:
                return web.json_response(_ABSENT, status=404)
        return await self._forward(request, slowly=self.slow if "/blobs/" in request.path else 0)

    async def _forward(self, request: web.BaseRequest, *, slowly: float) -> web.StreamResponse:
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
            if request.transport is not None:  # The registry behind is gone: so is this.
                request.transport.abort()
            return web.Response(status=502)
        async with answer:
            response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            await response.prepare(request)
            if request.method != "HEAD":
                await self._pass_on(answer, response, slowly)
            await response.write_eof()
            return response

    async def _pass_on(
        self, answer: aiohttp.ClientResponse, response: web.StreamResponse, slowly: float
    ) -> None:
        size = max(1, answer.content_length or _CHUNK)
        async for chunk in answer.content.iter_chunked(_CHUNK):
            await response.write(chunk)
            if slowly:
                await asyncio.sleep(slowly * len(chunk) / size)


def _kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """
    Return the headers that go on; a client sends several that are called Accept.
    """
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in _HOP_BY_HOP)
