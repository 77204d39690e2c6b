"""
The registries behind the stand-in's proxy projects: simulated, or real ones over HTTP.
"""

import asyncio
import hashlib
import json

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import aiohttp


__all__ = [
    "Answer",
    "Image",
    "RealUpstream",
    "SimulatedUpstream",
    "Upstream",
    "UpstreamState",
    "digest_of",
]

MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class UpstreamState(StrEnum):
    """
    What an upstream does with whatever Harbor asks it.
    """

    UP = "up"
    REFUSED = "refused"
    BLACK_HOLE = "black-hole"
    """Harbor gives up after 30 s."""
    HUNG = "hung"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate-limited"
    BROKEN = "broken"
    """It answers 500."""


def digest_of(content: bytes) -> str:
    """
    Return the digest of *content* as registries write it.
    """
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Image:
    """
    A manifest and the blobs that it names.
    """

    manifest: bytes
    media_type: str
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """
        Return the manifest's digest.
        """
        return digest_of(self.manifest)

    @classmethod
    def made_up(cls, name: str) -> "Image":
        """
        Return a tiny image that is the same for the same *name*.
        """
        layer = f"layer of {name}".encode()
        config = json.dumps({"architecture": "amd64", "os": "linux", "name": name}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPES[3],
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": digest_of(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(layer),
                    "digest": digest_of(layer),
                }
            ],
        }
        blobs = {digest_of(config): config, digest_of(layer): layer}
        return cls(json.dumps(manifest, indent=3).encode(), MANIFEST_TYPES[3], blobs)


@dataclass(slots=True)
class Answer:
    """
    What an upstream said: a status (0 where it could not be reached) and, with 200, content.
    """

    status: int
    media_type: str = ""
    digest: str = ""
    length: int | None = None
    body: AsyncIterator[bytes] | None = None

    async def read(self) -> bytes:
        """
        Return the whole content.
        """
        return b"".join([chunk async for chunk in self.body]) if self.body else b""


class Upstream(Protocol):
    """
    What the stand-in asks of a registry.
    """

    async def healthy(self, username: str, secret: str) -> bool:
        """
        Tell whether Harbor's check of the endpoint with these credentials would succeed.
        """

    async def manifest(self, repository: str, reference: str, *, head: bool) -> Answer:
        """
        Return a manifest by tag or digest, without content where *head* says so.
        """

    async def blob(self, repository: str, digest: str) -> Answer:
        """
        Return a blob.
        """

    async def close(self) -> None:
        """
        Let go of connections.
        """


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


_STATUS: Final = {
    UpstreamState.REFUSED: 0,
    UpstreamState.BLACK_HOLE: 0,
    UpstreamState.UNAUTHORIZED: 401,
    UpstreamState.RATE_LIMITED: 429,
    UpstreamState.BROKEN: 500,
}


@dataclass(slots=True)
class SimulatedUpstream:
    """
    A registry in memory.

    Attributes:
        images: what it holds, by ``repository:tag``; where absent, every image exists.
        state: what it does; may be changed at any time.
        credentials: the user name and secret that an endpoint must have right, if it has any.
        self_signed: whether an endpoint must trust its certificate.
        black_hole_delay: after how many seconds Harbor gives up on it.
    """

    images: dict[str, Image] | None = None
    state: UpstreamState = UpstreamState.UP
    credentials: tuple[str, str] | None = None
    self_signed: bool = False
    black_hole_delay: float = 30.0
    _known: dict[tuple[str, str], Image] = field(default_factory=dict)

    async def healthy(self, username: str, secret: str) -> bool:
        """
        Tell whether the check of the endpoint succeeds: 401 counts where none was asked for.
        """
        if await self._trouble() is not None:
            return self.state is UpstreamState.UNAUTHORIZED
        return not username or self.credentials in (None, (username, secret))

    async def manifest(self, repository: str, reference: str, *, head: bool) -> Answer:
        """
        Return a manifest by tag or digest.
        """
        if (answer := await self._trouble()) is not None:
            return answer
        image = self._find(repository, reference)
        if image is None:
            return Answer(404)
        body = None if head else _once(image.manifest)
        return Answer(200, image.media_type, image.digest, len(image.manifest), body)

    async def blob(self, repository: str, digest: str) -> Answer:
        """
        Return a blob of any image of the repository that was asked for before.
        """
        if (answer := await self._trouble()) is not None:
            return answer
        held = self.images or {}
        images = [i for n, i in held.items() if n.rpartition(":")[0] == repository]
        images += [i for (r, _), i in self._known.items() if r == repository]
        for image in images:
            if digest in image.blobs:
                content = image.blobs[digest]
                return Answer(
                    200, "application/octet-stream", digest, len(content), _once(content)
                )
        return Answer(404)

    async def close(self) -> None:
        """
        Do nothing.
        """

    async def _trouble(self) -> Answer | None:
        if self.state is UpstreamState.HUNG:
            await asyncio.Event().wait()
        if self.state is UpstreamState.UP:
            return None
        if self.state is UpstreamState.BLACK_HOLE:
            await asyncio.sleep(self.black_hole_delay)
        return Answer(_STATUS[self.state])

    def _find(self, repository: str, reference: str) -> Image | None:
        if "@" in reference or reference.startswith("sha256:"):
            held = (self.images or {}).items()
            images = [i for n, i in held if n.rpartition(":")[0] == repository]
            images += [i for (r, _), i in self._known.items() if r == repository]
            return next((image for image in images if image.digest == reference), None)
        if self.images is not None:
            return self.images.get(f"{repository}:{reference}")
        key = (repository, reference)
        return self._known.setdefault(key, Image.made_up(f"{repository}:{reference}"))


class RealUpstream:
    """
    A registry on the network, without credentials: in tests, Debian's on loopback.
    """

    def __init__(self, url: str, connect_timeout: float = 5.0) -> None:
        self._url = url.rstrip("/")
        self._connect_timeout = connect_timeout
        self._opened: aiohttp.ClientSession | None = None

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(sock_connect=self._connect_timeout),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._opened

    async def healthy(self, username: str, secret: str) -> bool:
        """
        Ask for ``/v2/``; without credentials, a registry that wants some counts as healthy.
        """
        headers = (
            {"Authorization": aiohttp.encode_basic_auth(username, secret)} if username else {}
        )
        accepted = (200,) if username else (200, 401, 403)
        url = f"{self._url}/v2/"
        try:
            async with self._session().get(
                url, headers=headers, allow_redirects=False
            ) as response:
                return response.status in accepted
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def manifest(self, repository: str, reference: str, *, head: bool) -> Answer:
        """
        Ask for a manifest.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        return await self._ask("HEAD" if head else "GET", path)

    async def blob(self, repository: str, digest: str) -> Answer:
        """
        Ask for a blob; its content arrives as it is read.
        """
        return await self._ask("GET", f"/v2/{repository}/blobs/{digest}")

    async def _ask(self, method: str, path: str) -> Answer:
        try:
            response = await self._session().request(
                method, self._url + path, headers={"Accept": ", ".join(MANIFEST_TYPES)}
            )
        except (aiohttp.ClientError, TimeoutError):
            return Answer(0)
        if response.status != 200 or method == "HEAD":
            response.release()
        return Answer(
            response.status,
            response.headers.get("Content-Type", ""),
            response.headers.get("Docker-Content-Digest", ""),
            response.content_length,
            response.content.iter_chunked(1 << 16) if method == "GET" else None,
        )

    async def close(self) -> None:
        """
        Let go of connections.
        """
        if self._opened is not None:
            await self._opened.close()
            self._opened = None
