"""
The proof: one manifest pulled through every project, as a container runtime does it.

The token service is the one that Harbor itself names; the manifest is asked for by HEAD with its
tag, fetched by digest, an index followed to linux/amd64, and the image's config read, which needs
the blobs to flow.  Nodes without a pull secret are everyone, and so is the proof.
"""

import asyncio
import hashlib
import json
import re
import ssl
import time

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

from webhook.config import Config, Registry
from webhook.errors import HarborError
from webhook.harbor.account import check_account, ways_to_pull
from webhook.harbor.checks import MANIFEST_TYPES, read_summary, split_canary
from webhook.harbor.client import Answer, Cause, Credentials, HarborClient, fail
from webhook.harbor.token import read_challenge, token_for
from webhook.provisioning.api import Api


__all__ = ["KNOWN_IMAGES", "Proof", "Verification", "verify"]

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

_CONCURRENT: Final = 8
"""
How many projects are pulled from at once, with one request each: Harbor serves nodes meanwhile.
"""

_ACCEPT: Final = {"Accept": ", ".join(MANIFEST_TYPES)}
_INDEXES: Final = (MANIFEST_TYPES[0], MANIFEST_TYPES[2])
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


@dataclass(frozen=True, slots=True)
class Verification:
    """
    What became of all projects.

    Attributes:
        refused: why Harbor does not let the robot account in; empty where it does, or has none.
    """

    proofs: tuple[Proof, ...]
    refused: str = ""

    @property
    def works(self) -> bool:
        """
        Tell whether all is as it should be.
        """
        return not self.refused and all(proof.works for proof in self.proofs)


async def verify(
    config: Config,
    tls: ssl.SSLContext,
    account: Credentials | None,
    api: Api | None = None,
    *,
    unreadable: str = "",
) -> Verification:
    """
    Pull through every project, some at once, from where the nodes pull and as they do.

    *account* is the robot account, if there is one.  With *api* (an administrator's) Harbor is
    asked to check the upstream of what failed.  *unreadable* says why there is no account though
    there should be one.
    """
    limit = asyncio.Semaphore(_CONCURRENT)
    refused = await _refusal(config, tls, account) if account else unreadable
    async with HarborClient(config.harbor.url, tls=tls, timeout=_TIMEOUT) as client:

        async def one(registry: Registry) -> Proof:
            async with limit:
                return await _prove(registry, _Pull(config, client, account, refused, api))

        proofs = await asyncio.gather(*(one(registry) for registry in config.registries))
    return Verification(tuple(proofs), refused)


async def _refusal(config: Config, tls: ssl.SSLContext, account: Credentials) -> str:
    """
    Return why the account is refused; what keeps Harbor from answering shows at every project.
    """
    try:
        async with HarborClient(config.harbor.base_url, tls=tls, timeout=_TIMEOUT) as client:
            await check_account(client, account)
    except HarborError as error:
        if error.cause == Cause.UNAUTHORIZED:
            return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class _Pull:
    """
    What it takes to pull.
    """

    config: Config
    client: HarborClient
    account: Credentials | None
    refused: str
    api: Api | None


async def _prove(registry: Registry, pull: _Pull) -> Proof:
    canary = registry.canary or KNOWN_IMAGES.get(registry.host)
    if canary is None:
        why = f"no image to pull is known for {registry.host}: set registries[].canary"
        return Proof(registry.project, "", 0.0, "no-canary", why)
    image = f"{pull.config.harbor.host}/{registry.project}/{canary}"
    started = time.perf_counter()
    cause, why = "", ""
    account: Credentials | None = None
    has_account = pull.account is not None or bool(pull.refused)
    for with_account in ways_to_pull(pull.config, registry, account=has_account):
        account = pull.account if with_account else None
        if with_account and pull.refused:
            cause, why = Cause.UNAUTHORIZED, f"nodes pull with a pull secret, but {pull.refused}"
            break
        try:
            async with asyncio.timeout(_TIMEOUT):
                cause, why = "", await _pull(pull.client, registry.project, canary, account)
        except TimeoutError:
            cause, why = Cause.TIMEOUT, f"not done within {_TIMEOUT:g} s"
        except HarborError as error:
            cause, why = error.cause, str(error)
        if cause != Cause.UNAUTHORIZED:
            break
    seconds = time.perf_counter() - started
    if cause:
        cause, why = await _find_cause(registry, pull, account, cause, why)
    return Proof(registry.project, image, seconds, cause, why)


async def _pull(
    client: HarborClient, project: str, canary: str, account: Credentials | None
) -> str:
    """
    Pull, and return what is remarkable though it worked.
    """
    repository, reference = split_canary(canary)
    path = f"/v2/{quote(f'{project}/{repository}')}"
    first = await client.call("HEAD", f"{path}/manifests/{reference}")
    first.check(HTTPStatus.UNAUTHORIZED)
    token, remark = await _token(client, first, f"{project}/{repository}", account)
    get = _Get(client, f"Bearer {token}", account)
    head = await get("HEAD", f"{path}/manifests/{reference}")
    digest = head.headers.get("Docker-Content-Digest", "")
    if head.content_type not in MANIFEST_TYPES or not _DIGEST.fullmatch(digest):
        raise fail(Cause.NOT_HARBOR, f"HEAD {reference} is answered with no manifest")
    manifest = await _fetch(get, path, digest)
    if head.content_type in _INDEXES:
        manifest = await _fetch(get, path, _of_platform(manifest))
    config = str((manifest.get("config") or {}).get("digest", ""))
    if not _DIGEST.fullmatch(config):
        raise fail(Cause.NOT_HARBOR, "the manifest names no config")
    blob = await get("GET", f"{path}/blobs/{config}")
    _check_digest(blob, config)
    return remark


async def _token(
    client: HarborClient, first: Answer, repository: str, account: Credentials | None
) -> tuple[str, str]:
    """
    Get a token from where the challenge says, as long as that is Harbor itself.
    """
    challenge = read_challenge(first)
    if challenge is None:
        # Seen: an absent project is answered so, even to an administrator.
        what = first.message() or "401 without a token service"
        raise fail(Cause.UNAUTHORIZED, what)
    base = urlsplit(client.base_url)
    if challenge.realm.netloc != base.netloc:
        raise fail(
            Cause.NOT_HARBOR,
            f"Harbor sends clients to {challenge.realm.scheme}://{challenge.realm.netloc} for a"
            " token: its external_url, or the Host header that its front passes on, is wrong",
        )
    remark = ""
    if challenge.realm.scheme != base.scheme:
        scheme = challenge.realm.scheme
        remark = f"tokens are handed out by {scheme}://: external_url has the wrong scheme"
    token = await token_for(
        client, repository, account, path=challenge.realm.path, service=challenge.service
    )
    return token, remark


@dataclass(frozen=True, slots=True)
class _Get:
    """
    A request with a token.
    """

    client: HarborClient
    bearer: str
    account: Credentials | None

    async def __call__(self, method: str, path: str) -> Answer:
        answer = await self.client.call(method, path, headers=_ACCEPT, authorization=self.bearer)
        what = "blob" if "/blobs/" in path else "manifest"
        try:
            return answer.check(HTTPStatus.OK)
        except HarborError as error:
            if error.cause == Cause.UNAUTHORIZED:
                who = "private, and nodes have no pull secret"
                if self.account is not None:
                    who = f"{self.account.username} may not pull from it"
                raise fail(
                    Cause.UNAUTHORIZED, f"the {what} is refused: the project is absent, or {who}"
                ) from error
            raise fail(Cause(error.cause), f"the {what}: {error}") from error


async def _fetch(get: _Get, path: str, digest: str) -> dict[str, Any]:
    answer = await get("GET", f"{path}/manifests/{digest}")
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
    registry: Registry, pull: _Pull, account: Credentials | None, cause: str, why: str
) -> tuple[str, str]:
    """
    Look behind a failed pull: Harbor answers 404 whatever is wrong with its upstream.
    """
    if cause not in (Cause.NOT_FOUND, Cause.TIMEOUT, Cause.HTTP_5XX):
        return cause, why
    try:
        endpoint = await read_summary(pull.client, registry.project, account)
        where = f"{endpoint.get('name')} ({endpoint.get('url')})"
        answers = None
        if pull.api is not None:
            answers = await pull.api.endpoint_answers(int(endpoint["id"]))
            if answers is None:
                why += "; Harbor is in read-only mode and checks no upstream"
        if answers is False:
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
