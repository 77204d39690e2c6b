"""
The proof: one manifest pulled through every project, as a container runtime does it.

The token service is the one that Harbor itself names; the manifest is asked for by HEAD with its
tag, fetched by digest, an index followed to linux/amd64, and the image's config read, which needs
the blobs to flow.
"""

import asyncio
import hashlib
import json
import re
import ssl
import time

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from webhook.config import Config, Registry
from webhook.errors import HarborError
from webhook.harbor.checks import MANIFEST_TYPES, read_summary, split_canary
from webhook.harbor.client import Answer, Cause, Credentials, HarborClient, fail
from webhook.provisioning.api import Api


__all__ = ["KNOWN_IMAGES", "Proof", "verify"]

KNOWN_IMAGES: Final = {
    "docker.io": "library/busybox:latest",
    "gcr.io": "distroless/static:latest",
    "k8s.gcr.io": "pause:3.9",
    "registry.k8s.io": "pause:3.9",
    "quay.io": "prometheus/busybox:latest",
    "ghcr.io": "distroless/static:latest",
    "mcr.microsoft.com": "oss/kubernetes/pause:3.9",
}
"""
Small public images, for registries whose config names no canary.
"""

_TIMEOUT: Final = 90.0
"""
Seconds for all of one project: Harbor itself waits 30 s for an upstream that drops packets.
"""

_ACCEPT: Final = {"Accept": ", ".join(MANIFEST_TYPES)}
_INDEXES: Final = (MANIFEST_TYPES[0], MANIFEST_TYPES[2])
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"', re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proof:
    """
    What became of one project.

    Attributes:
        image: what was pulled, as a Pod would name it after the rewrite.
        seconds: how long it took.
        cause: why it failed, in one word; empty where it worked.
        why: the same as a sentence, or what is remarkable.
    """

    project: str
    image: str
    seconds: float
    cause: str = ""
    why: str = ""

    @property
    def works(self) -> bool:
        """
        Tell whether the manifest came through.
        """
        return not self.cause


async def verify(
    config: Config,
    tls: ssl.SSLContext,
    credentials: Credentials | None,
    api: Api | None = None,
) -> list[Proof]:
    """
    Pull through every project at once, from where the nodes pull.

    *credentials* are those of the robot account, if there is one.  With *api* (an administrator's)
    Harbor is asked to check the upstream of what failed.
    """

    async def one(registry: Registry) -> Proof:
        client = HarborClient(
            config.harbor.url, tls=tls, credentials=credentials, timeout=_TIMEOUT
        )
        async with client:
            return await _prove(registry, config, client, api)

    return list(await asyncio.gather(*(one(registry) for registry in config.registries)))


async def _prove(
    registry: Registry, config: Config, client: HarborClient, api: Api | None
) -> Proof:
    canary = registry.canary or KNOWN_IMAGES.get(registry.host)
    if canary is None:
        why = f"no image to pull is known for {registry.host}: set registries[].canary"
        return Proof(registry.project, "", 0.0, "no-canary", why)
    image = f"{config.harbor.host}/{registry.project}/{canary}"
    started = time.perf_counter()
    cause, why = "", ""
    try:
        async with asyncio.timeout(_TIMEOUT):
            why = await _pull(client, registry.project, canary)
    except TimeoutError:
        cause, why = Cause.TIMEOUT, f"not done within {_TIMEOUT:g} s"
    except HarborError as error:
        cause, why = error.cause, str(error)
    seconds = time.perf_counter() - started
    if cause:
        cause, why = await _find_cause(registry, client, api, cause, why)
    return Proof(registry.project, image, seconds, cause, why)


async def _pull(client: HarborClient, project: str, canary: str) -> str:
    """
    Pull, and return what is remarkable though it worked.
    """
    repository, reference = split_canary(canary)
    path = f"/v2/{quote(f'{project}/{repository}')}"
    first = await client.call("HEAD", f"{path}/manifests/{reference}", authorization="")
    first.check(401)
    token, remark = await _token(client, first, f"{project}/{repository}")
    bearer = f"Bearer {token}"
    head = await _get(client, "HEAD", f"{path}/manifests/{reference}", bearer)
    digest = head.headers.get("Docker-Content-Digest", "")
    if head.content_type not in MANIFEST_TYPES or not _DIGEST.fullmatch(digest):
        raise fail(Cause.NOT_HARBOR, f"HEAD {reference} is answered with no manifest")
    manifest = await _fetch(client, path, digest, bearer)
    if head.content_type in _INDEXES:
        manifest = await _fetch(client, path, _of_platform(manifest), bearer)
    config = str((manifest.get("config") or {}).get("digest", ""))
    if not _DIGEST.fullmatch(config):
        raise fail(Cause.NOT_HARBOR, "the manifest names no config")
    blob = await _get(client, "GET", f"{path}/blobs/{config}", bearer)
    _check_digest(blob, config)
    return remark


async def _token(client: HarborClient, challenge: Answer, repository: str) -> tuple[str, str]:
    """
    Get a token from where the challenge says, as long as that is Harbor itself.
    """
    header = challenge.headers.get("Www-Authenticate", "")
    parameters = dict(_PARAMETER.findall(header))
    realm = urlsplit(parameters.get("realm", ""))
    if not header.startswith("Bearer ") or not realm.netloc:
        # Seen: an absent project is answered so, even to an administrator.
        what = challenge.message() or "401 without a token service"
        raise fail(Cause.UNAUTHORIZED, what)
    base = urlsplit(client.base_url)
    if realm.netloc != base.netloc:
        raise fail(
            Cause.NOT_HARBOR,
            f"Harbor sends clients to {realm.scheme}://{realm.netloc} for a token: its"
            " external_url, or the Host header that its front passes on, is wrong",
        )
    remark = ""
    if realm.scheme != base.scheme:
        remark = f"tokens are handed out by {realm.scheme}://: external_url has the wrong scheme"
    query = {
        "service": parameters.get("service", "harbor-registry"),
        "scope": f"repository:{repository}:pull",
    }
    answer = (await client.call("GET", realm.path, query=query)).check(200).json()
    token = answer.get("token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not token:
        raise fail(Cause.NOT_HARBOR, "the token service gives no token")
    return token, remark


async def _get(client: HarborClient, method: str, path: str, bearer: str) -> Answer:
    answer = await client.call(method, path, headers=_ACCEPT, authorization=bearer)
    what = "blob" if "/blobs/" in path else "manifest"
    try:
        return answer.check(200)
    except HarborError as error:
        if error.cause == Cause.UNAUTHORIZED:
            who = "this account" if client.credentials else "everyone"
            raise fail(
                Cause.UNAUTHORIZED,
                f"the {what} is refused: the project is absent, or not open to {who}",
            ) from error
        raise fail(Cause(error.cause), f"the {what}: {error}") from error


async def _fetch(client: HarborClient, path: str, digest: str, bearer: str) -> dict[str, Any]:
    answer = await _get(client, "GET", f"{path}/manifests/{digest}", bearer)
    _check_digest(answer, digest)
    try:
        manifest = json.loads(answer.body)
    except ValueError as error:
        raise fail(Cause.NOT_HARBOR, "the manifest is no JSON") from error
    if not isinstance(manifest, dict):
        raise fail(Cause.NOT_HARBOR, "the manifest is no JSON object")
    return manifest


def _check_digest(answer: Answer, digest: str) -> None:
    if f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
        raise fail(Cause.NOT_HARBOR, f"what came for {digest[:19]}… has another digest")


def _of_platform(index: dict[str, Any]) -> str:
    """
    Return the digest of the image for linux/amd64, or else of the first one.
    """
    manifests = [m for m in index.get("manifests") or [] if isinstance(m, dict)]
    wanted = {"os": "linux", "architecture": "amd64"}
    fitting = [m for m in manifests if wanted.items() <= (m.get("platform") or {}).items()]
    digest = str((fitting or manifests or [{}])[0].get("digest", ""))
    if not _DIGEST.fullmatch(digest):
        raise fail(Cause.NOT_HARBOR, "the index names no image")
    return digest


async def _find_cause(
    registry: Registry, client: HarborClient, api: Api | None, cause: str, why: str
) -> tuple[str, str]:
    """
    Look behind a failed pull: Harbor answers 404 whatever is wrong with its upstream.
    """
    if cause not in (Cause.NOT_FOUND, Cause.TIMEOUT, Cause.HTTP_5XX):
        return cause, why
    try:
        endpoint = await read_summary(client, registry.project)
        where = f"{endpoint.get('name')} ({endpoint.get('url')})"
        if api is not None and not await api.endpoint_answers(int(endpoint["id"])):
            unusable = (
                "it does not answer, its certificate is not trusted, or its credentials are wrong"
            )
            return (
                Cause.UPSTREAM_UNHEALTHY,
                f"Harbor can't use the upstream {where}: {unusable} ({why})",
            )
        if endpoint.get("status") != "healthy":
            return (
                Cause.UPSTREAM_UNHEALTHY,
                f"Harbor reports the upstream {where} as unhealthy ({why})",
            )
    except HarborError as error:
        return error.cause, f"{error} ({why})"
    if cause == Cause.NOT_FOUND:
        why += "; the image is absent upstream, or the upstream refused Harbor"
    return cause, why
