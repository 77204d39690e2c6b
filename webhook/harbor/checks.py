"""
What is looked at: Harbor as a whole, a project, and a project's canary.

"Harbor answers" is not "Harbor can serve".  The health page is always HTTP 200 and says nothing
of upstreams; a project's summary tells its upstream's status, up to five minutes late; a hung
upstream makes pulls hang while all of that is fine, which only a timed canary shows.  A 404
proves nothing about an image.
"""

import asyncio
import re

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from webhook.harbor.account import REFUSED
from webhook.harbor.client import Cause, Credentials, HarborClient, fail
from webhook.harbor.token import check_may_pull, read_challenge, token_for


__all__ = ["MANIFEST_TYPES", "check_canary", "check_harbor", "check_right", "read_summary"]

NEEDED: Final = frozenset({"core", "database", "registry"})
"""
The components that a pull needs, as seen by stopping each; the others only degrade Harbor.
"""

MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT: Final = {"Accept": ", ".join(MANIFEST_TYPES)}
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_NAME: Final = re.compile(r"[a-z-]{1,20}", re.ASCII)


async def check_harbor(client: HarborClient, project: str | None) -> tuple[str, ...]:
    """
    Return the components that are out but not needed for a pull.

    The token service is asked about *project*, as a kubelet would.

    Raises:
        HarborError: where Harbor can't serve pulls, or does not answer.
    """
    # At once, since slow answers, as without Redis, would add up.
    health = asyncio.ensure_future(_check_health(client))
    await asyncio.gather(health, _check_token_flow(client, project))
    return health.result()


async def _check_health(client: HarborClient) -> tuple[str, ...]:
    answer = await client.call("GET", "/api/v2.0/health", authorization="")
    health = answer.check(HTTPStatus.OK).json()
    components = health.get("components") if isinstance(health, dict) else None
    if not isinstance(components, list):
        raise fail(Cause.NOT_HARBOR, "the health page is not Harbor's")
    down = [
        name
        for component in components
        if isinstance(component, dict)
        and isinstance(name := component.get("name"), str)
        and _NAME.fullmatch(name)
        and component.get("status") != "healthy"
    ]
    if needed := sorted(NEEDED & set(down)):
        raise fail(Cause.COMPONENT_DOWN, f"Harbor reports as unhealthy: {', '.join(needed)}")
    return tuple(sorted(down))


async def _check_token_flow(client: HarborClient, project: str | None) -> None:
    answer = await client.call("GET", "/v2/", authorization="")
    answer.check(HTTPStatus.UNAUTHORIZED, HTTPStatus.OK)
    if answer.status == HTTPStatus.UNAUTHORIZED and read_challenge(answer) is None:
        raise fail(Cause.NOT_HARBOR, "/v2/ names no token service")
    if project is not None:
        await token_for(client, f"{project}/library/harbor-cache-probe")


async def read_summary(
    client: HarborClient, project: str, account: Credentials | None = None
) -> Mapping[str, Any]:
    """
    Return the registry endpoint behind a proxy project, from the project's summary.

    Asked as *account*, or as everyone.

    Raises:
        HarborError: where the project can't be seen, or is no proxy project.
    """
    answer = await client.call(
        "GET",
        f"/api/v2.0/projects/{quote(project, safe='')}/summary",
        headers={"X-Is-Resource-Name": "true"},
        authorization=account.header() if account else "",
    )
    if answer.status == HTTPStatus.UNAUTHORIZED:
        why = "it is absent, or private and nodes have no pull secret"
        if account is not None:
            why = f"the robot account {account.username} is refused: {REFUSED}"
        raise fail(Cause.UNAUTHORIZED, f"the project {project} can't be read: {why}")
    if answer.status == HTTPStatus.FORBIDDEN:
        who = account.username if account else "everyone"
        why = f"it is absent, or {who} has no right to it"
        raise fail(Cause.FORBIDDEN, f"the project {project} can't be read: {why}")
    if answer.status == HTTPStatus.NOT_FOUND:
        raise fail(Cause.NOT_FOUND, f"there is no project {project}")
    summary = answer.check(HTTPStatus.OK).json()
    if not isinstance(summary, dict) or "repo_count" not in summary:
        raise fail(Cause.NOT_HARBOR, "the project's summary is not Harbor's")
    registry = summary.get("registry")
    if not isinstance(registry, dict):
        raise fail(Cause.NOT_A_PROXY, f"{project} is no proxy project")
    return registry


async def check_right(client: HarborClient, project: str, account: Credentials) -> None:
    """
    Make sure that *account* may pull from a project, which its summary does not tell.

    Raises:
        HarborError: if it may not.
    """
    token = await token_for(client, f"{project}/library/harbor-cache-probe", account)
    check_may_pull(token, f"the project {project} can't be pulled from: {account.username}")


async def check_canary(
    client: HarborClient, project: str, canary: str, account: Credentials | None = None
) -> None:
    """
    Ask for the head of a manifest, which reaches the upstream; too many requests is no failure.

    Raises:
        HarborError: with the cause `canary` where Harbor answers and can't serve it.
    """
    repository, reference = split_canary(canary)
    path = f"{project}/{repository}"
    token = await token_for(client, path, account)
    answer = await client.call(
        "HEAD",
        f"/v2/{quote(path)}/manifests/{quote(reference, safe=':')}",
        headers=_ACCEPT,
        authorization=f"Bearer {token}",
    )
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return
    if answer.status == HTTPStatus.NOT_FOUND:
        raise fail(Cause.CANARY, f"the canary {canary} is answered with HTTP 404")
    answer.check(HTTPStatus.OK)
    digest = answer.headers.get("Docker-Content-Digest", "")
    if answer.content_type not in MANIFEST_TYPES or not _DIGEST.fullmatch(digest):
        raise fail(Cause.NOT_HARBOR, f"the canary {canary} is answered with no manifest")


def split_canary(canary: str) -> tuple[str, str]:
    """
    Return repository and tag, or digest, of a canary such as ``library/busybox:1``.
    """
    if "@" in canary:
        repository, _, reference = canary.partition("@")
        return repository.partition(":")[0], reference
    repository, _, reference = canary.partition(":")
    return repository, reference or "latest"
