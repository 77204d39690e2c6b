"""
Registry endpoints.
"""

import asyncio

from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from webhook.demo.standin.api.answers import bad_request, created, ok, page_of, shown
from webhook.demo.standin.routing import Call, FrontGaveUpError, Refusal, Router
from webhook.demo.standin.state import Endpoint, now


__all__ = ["ADAPTERS", "ENDPOINTS"]

ENDPOINTS: Final = Router("/api/v2.0")

ADAPTERS: Final = (
    "ali-acr",
    "aws-ecr",
    "azure-acr",
    "docker-hub",
    "docker-registry",
    "github-ghcr",
    "google-gcr",
    "harbor",
    "huawei-SWR",
    "jfrog-artifactory",
    "tencent-tcr",
    "volcengine-cr",
)

_MAX_NAME: Final = 64
_POST_KEYS: Final = "name type url insecure description credential ca_certificate"
_PUT_KEYS: Final = (
    "name type url insecure description credential_type access_key access_secret ca_certificate"
)


@ENDPOINTS.add(
    "GET",
    "/replication/adapters",
    fact="recorded: adapters",
    needs="admin",
    permission=("replication-adapter", "list"),
)
async def _adapters(_: Call) -> web.Response:
    return shown(list(ADAPTERS))


@ENDPOINTS.add(
    "GET",
    "/registries",
    fact="recorded: registry find by exact name; lists page at 10",
    query="q name page page_size sort",
    needs="admin",
    permission=("registry", "list"),
)
async def _list(call: Call) -> web.Response:
    # The one that was left alone for longest comes first.
    endpoints = sorted(call.harbor.state.endpoints.values(), key=lambda e: e.updated)
    return page_of(call, [endpoint.shown(credential=True) for endpoint in endpoints])


@ENDPOINTS.add(
    "POST",
    "/registries",
    fact="recorded: registry create and its refusals",
    keys=_POST_KEYS,
    needs="admin",
    permission=("registry", "create"),
)
async def _create(call: Call) -> web.Response:
    state, body = call.harbor.state, call.body
    _check_name(body.get("name", ""))
    if body.get("type") not in ADAPTERS:
        raise Refusal(500, "UNKNOWN", "internal server error")
    credential = body.get("credential") or {}
    endpoint = Endpoint(
        0,
        body["name"],
        body["type"],
        _checked_url(body.get("url", "")),
        insecure=bool(body.get("insecure", False)),
        description=body.get("description", ""),
        access_key=credential.get("access_key", ""),
        access_secret=credential.get("access_secret", ""),
        ca_certificate=_checked_certificate(body.get("ca_certificate", "")),
    )
    await _check_reached(call, endpoint)
    endpoint.id = state.next_id("endpoint")  # Seen: used up even where the rest fails.
    if state.endpoint(endpoint.name):
        raise Refusal(409, "CONFLICT", f"registry {endpoint.name} already exists")
    state.endpoints[endpoint.id] = endpoint
    return created(f"/api/v2.0/registries/{endpoint.id}")


@ENDPOINTS.add(
    "POST",
    "/registries/ping",
    fact="recorded: registry ping by id, absent, by url; the status stays",
    keys="id type url insecure credential_type access_key access_secret ca_certificate",
    needs="admin",
)
async def _check(call: Call) -> web.Response:
    body = call.body
    if "id" in body:
        endpoint = call.harbor.state.endpoints.get(body["id"])
        if endpoint is None:
            raise Refusal(404, "NOT_FOUND", f"registry {body['id']} not found")
    else:
        endpoint = Endpoint(0, "", body.get("type", ""), _checked_url(body.get("url", "")))
        endpoint.insecure = bool(body.get("insecure", False))
        endpoint.access_key = body.get("access_key", "")
        endpoint.access_secret = body.get("access_secret", "")
    await _check_reached(call, endpoint)
    return ok()


async def _check_reached(call: Call, endpoint: Endpoint) -> None:
    """
    Refuse where the upstream does not answer; nginx in front gives up on one that is silent.
    """
    try:
        async with asyncio.timeout(call.harbor.front_timeout):
            reached = await call.harbor.reaches(endpoint)
    except TimeoutError:
        raise FrontGaveUpError from None
    if not reached:
        raise bad_request("the registry is unhealthy")


@ENDPOINTS.add(
    "GET",
    "/registries/{id}",
    fact="recorded: registry get, registry get absent",
    needs="admin",
    permission=("registry", "read"),
)
async def _get(call: Call) -> web.Response:
    return shown(_find(call).shown(credential=True))


@ENDPOINTS.add(
    "PUT",
    "/registries/{id}",
    fact="recorded: registry update, registry recheck; partial, type ignored, secret as it comes",
    keys=_PUT_KEYS,
    needs="admin",
    permission=("registry", "update"),
)
async def _update(call: Call) -> web.Response:
    endpoint, body = _find(call), call.body
    if "name" in body:
        _check_name(body["name"])
        if (other := call.harbor.state.endpoint(body["name"])) and other is not endpoint:
            raise Refusal(409, "CONFLICT", f"registry {body['name']} already exists")
    changed = {
        name: body[name]
        for name in ("name", "description", "insecure", "access_key", "access_secret")
        if name in body
    }
    if "url" in body:
        changed["url"] = _checked_url(body["url"])
    if "ca_certificate" in body:
        changed["ca_certificate"] = _checked_certificate(body["ca_certificate"])
    before = {name: getattr(endpoint, name) for name in changed}
    _set(endpoint, changed)
    try:
        await _check_reached(call, endpoint)
    except (Refusal, FrontGaveUpError):
        _set(endpoint, before)
        raise
    endpoint.status = "healthy"
    endpoint.updated = now()
    return ok()


@ENDPOINTS.add(
    "DELETE",
    "/registries/{id}",
    fact="recorded: registry delete, in use, absent",
    needs="admin",
    permission=("registry", "delete"),
)
async def _delete(call: Call) -> web.Response:
    endpoint, state = _find(call), call.harbor.state
    if any(project.registry_id == endpoint.id for project in state.projects.values()):
        raise Refusal(
            412,
            "PRECONDITION",
            f"the registry {endpoint.id} is referenced by proxy cache project, cannot delete it",
        )
    del state.endpoints[endpoint.id]
    return ok()


def _find(call: Call) -> Endpoint:
    number = call.match["id"]
    endpoint = call.harbor.state.endpoints.get(int(number)) if number.isdigit() else None
    if endpoint is None:
        raise Refusal(404, "NOT_FOUND", f"registry {number} not found")
    return endpoint


def _set(endpoint: Endpoint, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(endpoint, name, value)


def _check_name(name: str) -> None:
    if not name:
        raise bad_request("name cannot be empty")
    if len(name) > _MAX_NAME:
        raise bad_request("the max length of name is 64")


def _checked_url(url: str) -> str:
    if not url:
        raise bad_request("empty string")
    if "://" not in url:
        if " " in url:
            raise bad_request(f"invalid URL: {url}")
        url = f"http://{url}"
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise bad_request(f"invalid HTTP scheme: {scheme}")
    return url.rstrip("/")


def _checked_certificate(pem: str) -> str:
    if pem and "-----BEGIN CERTIFICATE-----" not in pem:
        raise bad_request("invalid CA certificate: failed to decode PEM block")
    return pem
