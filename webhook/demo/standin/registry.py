"""
The registry endpoints: tokens, manifests and blobs, as a proxy project serves them.
"""

import re

from typing import Final

from aiohttp import web

from webhook.demo.standin.faults import answer_with_fault
from webhook.demo.standin.routing import API_VERSION, Call, Refusal, Router, errors
from webhook.demo.standin.state import Project, now
from webhook.demo.standin.upstream import Answer, digest_of


__all__ = ["REGISTRY"]

REGISTRY: Final = Router()

_SERVICE: Final = "harbor-registry"
_PATH: Final = re.compile(r"([^/]+)/(.+)")
_MAX_CACHED_BLOB: Final = 64 << 20


def _realm(call: Call) -> str:
    """
    Return the token service: the scheme is the configured one, the host that of the request.
    """
    return f"{call.harbor.external_scheme}://{call.request.host}/service/token"


@REGISTRY.add("GET", "/v2/", fact="recorded: v2 ping", query="ns")
async def _ping(call: Call) -> web.Response:
    if call.principal.name:
        return web.json_response({}, headers=API_VERSION)
    challenge = f'Bearer realm="{_realm(call)}",service="{_SERVICE}"'
    refusal = Refusal(401, "UNAUTHORIZED", "unauthorized: unauthorized")
    return errors(refusal, {**API_VERSION, "Www-Authenticate": challenge})


@REGISTRY.add(
    "GET",
    "/service/token",
    fact="recorded: token anonymous; wrong credentials get an anonymous token",
    query="service scope account client_id offline_token",
)
async def _token(call: Call) -> web.Response:
    _, _, repository = call.request.query.get("scope", "").partition(":")
    token = call.harbor.token_for(call.principal, repository.removesuffix(":pull"))
    return web.json_response(
        {"token": token, "access_token": "", "expires_in": 1800, "issued_at": now()}
    )


async def _project(call: Call) -> tuple[Project, str]:
    """
    Return the project and the repository behind it, for whoever may pull.
    """
    match = _PATH.fullmatch(call.match["name"])
    if match is None:
        raise Refusal(400, "BAD_REQUEST", f"bad repository name {call.match['name']}")
    name, repository = match.groups()
    if "Authorization" not in call.request.headers:
        raise _Challenge(call)
    project = call.harbor.state.project(name)
    if project is None:
        raise _NoProject(name)
    if not (project.public or call.principal.kind == "admin" or name in call.principal.pulls):
        raise _Challenge(call, basic=True)
    return project, repository


class _Challenge(Exception):  # noqa: N818 - it is an answer.
    def __init__(self, call: Call, *, basic: bool = False) -> None:
        """
        Ask for a token, or, seen where one is not enough, for a password.
        """
        super().__init__()
        scope = f"repository:{call.match['name']}:pull"
        self.challenge = f'Bearer realm="{_realm(call)}",service="{_SERVICE}",scope="{scope}"'
        if basic:
            self.challenge = 'Basic realm="harbor"'
        self.message = f"unauthorized to access repository: {call.match['name']}, action: pull"


class _NoProject(Exception):  # noqa: N818 - it is an answer.
    pass


def _refuse(error: Exception) -> web.Response:
    if isinstance(error, _Challenge):
        refusal = Refusal(401, "UNAUTHORIZED", error.message)
        return errors(refusal, {**API_VERSION, "Www-Authenticate": error.challenge})
    message = f"project {error} not found"
    refusal = Refusal(401, "UNAUTHORIZED", f"{message}: {message}")
    return errors(refusal, {**API_VERSION, "Www-Authenticate": ""})


@REGISTRY.add(
    "GET HEAD",
    "/v2/{name*}/manifests/{reference}",
    fact="recorded: manifest, nine times; seen: ns, which containerd's mirrors send, is ignored",
    query="ns",
)
async def _manifest(call: Call) -> web.StreamResponse:
    try:
        project, repository = await _project(call)
    except (_Challenge, _NoProject) as error:
        return _refuse(error)
    if (fault := call.harbor.pull_fault(project.name)) is not None:
        response = await answer_with_fault(fault, call.request, call.harbor.slow_delay)
        if response is not None:
            return response
    if (redirect := _to_library(call, project, repository)) is not None:
        return redirect
    reference = call.match["reference"]
    head = call.request.method == "HEAD"
    local = _cached(project, repository, reference)
    if local and reference.startswith("sha256:"):
        return _serve_cached(call, local)
    answer = await _ask_manifest(call, project, repository, reference)
    if answer.status == 200:
        if local and answer.digest == local[1]:
            return _serve_cached(call, local)
        return await _serve_fetched(project, repository, reference, answer, head=head)
    if answer.status == 404 and project.registry_id is not None and not answer.digest:
        kept = project.metadata.get("proxy_cache_local_on_not_found") == "true"
        if not (local and kept):
            path = f"{project.name}/{repository}"
            what = "digest" if reference.startswith("sha256:") else "tag"
            message = f"resource not found: repo {path}, {what} {reference} not found"
            raise Refusal(404, "NOT_FOUND", message)
    if local:
        return _serve_cached(call, local)
    if answer.status == 429:
        raise Refusal(429, "TOO_MANY_REQUEST", "too many requests to upstream registry")
    path = f"{project.name}/{repository}"
    if repository not in project.repositories:
        raise Refusal(404, "NOT_FOUND", f"repository {path} not found")
    raise Refusal(404, "NOT_FOUND", f"artifact {path}:{reference} not found")


async def _ask_manifest(call: Call, project: Project, repository: str, reference: str) -> Answer:
    """
    Ask the upstream, unless the project has none or Harbor holds it for unhealthy.
    """
    endpoint = call.harbor.state.endpoints.get(project.registry_id or 0)
    if endpoint is None or endpoint.status != "healthy":
        return Answer(0)
    upstream = call.harbor.upstream(endpoint)
    return await upstream.manifest(repository, reference, head=call.request.method == "HEAD")


async def _serve_fetched(
    project: Project, repository: str, reference: str, answer: Answer, *, head: bool
) -> web.Response:
    headers = {"Content-Type": answer.media_type, **API_VERSION}
    if head:
        headers |= {
            "Docker-Content-Digest": answer.digest,
            "Etag": answer.digest,
            "Content-Length": str(answer.length),
        }
        return web.Response(headers=headers)
    content = await answer.read()
    digest = digest_of(content)
    # Seen: a manifest that was fetched by tag comes with both headers empty.
    shown = digest if reference.startswith("sha256:") else ""
    project.manifests[f"{repository}@{digest}"] = (content, answer.media_type)
    if not reference.startswith("sha256:"):
        project.tags[f"{repository}:{reference}"] = digest
    return web.Response(
        body=content, headers={**headers, "Docker-Content-Digest": shown, "Etag": shown}
    )


def _cached(project: Project, repository: str, reference: str) -> tuple[bytes, str, str] | None:
    digest = project.tags.get(f"{repository}:{reference}", reference)
    found = project.manifests.get(f"{repository}@{digest}")
    return (found[0], digest, found[1]) if found else None


def _serve_cached(call: Call, local: tuple[bytes, str, str]) -> web.Response:
    content, digest, media_type = local
    if "registry" in call.harbor.down:
        return web.Response(status=502)
    headers = {
        "Content-Type": media_type,
        "Docker-Content-Digest": digest,
        "Etag": f'"{digest}"',
        **API_VERSION,
    }
    if call.request.method == "HEAD":
        return web.Response(headers=headers | {"Content-Length": str(len(content))})
    return web.Response(body=content, headers=headers)


def _to_library(call: Call, project: Project, repository: str) -> web.Response | None:
    endpoint = call.harbor.state.endpoints.get(project.registry_id or 0)
    if endpoint is None or endpoint.type != "docker-hub" or "/" in repository:
        return None
    rest = call.request.path.removeprefix(f"/v2/{project.name}/")
    location = f"/v2/{project.name}/library/{rest}"
    return web.Response(status=301, headers={"Location": location})


@REGISTRY.add(
    "GET HEAD", "/v2/{name*}/blobs/{digest}", fact="seen: blobs, cached and not", query="ns"
)
async def _blob(call: Call) -> web.StreamResponse:
    try:
        project, repository = await _project(call)
    except (_Challenge, _NoProject) as error:
        return _refuse(error)
    if (fault := call.harbor.pull_fault(project.name)) is not None:
        faulty = await answer_with_fault(fault, call.request, call.harbor.slow_delay)
        if faulty is not None:
            return faulty
    if (redirect := _to_library(call, project, repository)) is not None:
        return redirect
    digest = call.match["digest"]
    headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
    if (content := project.blobs.get(digest)) is not None:
        if call.request.method == "HEAD":
            return web.Response(headers=headers | {"Content-Length": str(len(content))})
        return web.Response(body=content, headers=headers)
    endpoint = call.harbor.state.endpoints.get(project.registry_id or 0)
    if call.request.method == "HEAD" or endpoint is None or endpoint.status != "healthy":
        # Seen: a blob that only the upstream has is not there for HEAD.
        raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
    answer = await call.harbor.upstream(endpoint).blob(repository, digest)
    if answer.status != 200 or answer.body is None:
        status = answer.status if answer.status in (401, 403, 404) else 500
        raise Refusal(status, "UNKNOWN", "internal server error")
    response = web.StreamResponse(headers=headers)
    response.content_length = answer.length
    await response.prepare(call.request)
    held: list[bytes] | None = []
    size = 0
    async for chunk in answer.body:
        await response.write(chunk)
        size += len(chunk)
        if held is not None:
            held.append(chunk)
            held = held if size <= _MAX_CACHED_BLOB else None
    await response.write_eof()
    if held is not None and digest_of(b"".join(held)) == digest:
        project.blobs[digest] = b"".join(held)
        project.repositories.add(repository)  # Seen: not listed for a manifest alone.
    return response


@REGISTRY.add(
    "GET", "/v2/{name*}/tags/list", fact="seen: local and upstream merged", query="n last"
)
async def _tags(call: Call) -> web.StreamResponse:
    try:
        project, repository = await _project(call)
    except (_Challenge, _NoProject) as error:
        return _refuse(error)
    tags = [t.rpartition(":")[2] for t in project.tags if t.rpartition(":")[0] == repository]
    return web.json_response({"name": call.match["name"], "tags": sorted(tags)})
