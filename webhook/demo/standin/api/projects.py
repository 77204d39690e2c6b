"""
Projects, their quotas and their retention policies.
"""

import re

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import bad_request, created, ok, page_of, shown, wrong_type
from webhook.demo.standin.routing import Call, Refusal, Router
from webhook.demo.standin.state import Project, now


__all__ = ["PROJECTS", "find_project"]

PROJECTS: Final = Router("/api/v2.0")

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_MAX_NAME: Final = 255
_NOT_EMPTY: Final = "the project contains repositories, can not be deleted"
_MAX_STORAGE: Final = 1024 << 40
_NUMBERS: Final = ("proxy_speed_kb", "max_upstream_conn")
_PROXY_TYPES: Final = frozenset(
    {
        "docker-hub",
        "harbor",
        "azure-acr",
        "ali-acr",
        "aws-ecr",
        "google-gcr",
        "docker-registry",
        "github-ghcr",
        "jfrog-artifactory",
    }
)


@PROJECTS.add(
    "GET", "/projects", fact="recorded: projects list page", query="q name page page_size sort"
)
async def _list(call: Call) -> web.Response:
    visible = [p for p in call.harbor.state.projects.values() if _may_read(call, p)]
    return page_of(call, [project.shown(_role(call)) for project in visible])


@PROJECTS.add(
    "HEAD", "/projects", fact="recorded: project head", query="project_name", needs="login"
)
async def _head(call: Call) -> web.Response:
    name = call.request.query.get("project_name", "")
    if not name:
        raise Refusal(422, "UNPROCESSABLE_ENTITY", "project_name in query is required")
    if call.harbor.state.project(name) is None:
        raise Refusal(404, "NOT_FOUND", f"project {name} not found")
    return ok()


@PROJECTS.add(
    "POST",
    "/projects",
    fact="recorded: project create and its refusals",
    keys="project_name registry_id storage_limit metadata public",
    needs="login",
)
async def _create(call: Call) -> web.Response:
    state, body = call.harbor.state, call.body
    metadata = _strings(body.get("metadata") or {})
    registry_id = body.get("registry_id")
    if registry_id is not None and not isinstance(registry_id, int):
        raise wrong_type("project", "ProjectReq.registry_id", registry_id, "int64")
    _check_may_create(call, proxy=registry_id is not None)
    name = body.get("project_name", "")
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise bad_request("project name is not in lower case or contains illegal characters")
    _check_metadata(metadata)
    storage = body.get("storage_limit") or -1
    if storage < -1:
        raise bad_request("invalid non-positive value for quota limit")
    if storage > _MAX_STORAGE:
        raise bad_request("the maximum value of quota limit is 1024TB")
    if registry_id is not None and registry_id <= 0:
        raise bad_request(
            f"{registry_id} is invalid value of registry_id, it should be geater than 0"
        )
    endpoint = None
    if registry_id is not None:
        endpoint = state.endpoints.get(registry_id)
        if endpoint is None or "jobservice" in call.harbor.down:
            raise Refusal(500, "UNKNOWN", "internal server error")
        if endpoint.type not in _PROXY_TYPES:
            raise bad_request(f"unsupported registry type {endpoint.type}")
    if state.project(name):
        raise Refusal(409, "CONFLICT", f"The project named {name} already exists")
    metadata.setdefault("public", "true" if body.get("public") else "false")
    project = state.add_project(name, endpoint, metadata)
    project.storage = storage
    return created(f"/api/v2.0/projects/{project.id}")


@PROJECTS.add("GET", "/projects/{project}", fact="recorded: project get anonymous, absent admin")
async def _get(call: Call) -> web.Response:
    return shown(find_project(call).shown(_role(call)))


@PROJECTS.add("GET", "/projects/{project}/summary", fact="recorded: project summary, five times")
async def _summary(call: Call) -> web.Response:
    project = find_project(call)
    summary: dict[str, Any] = {"repo_count": len(project.repositories)}
    if project.registry_id is not None:
        endpoint = call.harbor.state.endpoints[project.registry_id]
        summary["registry"] = endpoint.shown(credential=False)
    if call.principal.kind == "admin":
        summary["project_admin_count"] = 1
        summary["quota"] = {"hard": {"storage": project.storage}, "used": {"storage": 0}}
    return shown(summary)


@PROJECTS.add(
    "PUT",
    "/projects/{project}",
    fact="recorded: project update metadata; registry_id and storage_limit ignored, nothing checked",
    keys="metadata registry_id storage_limit",
    needs="login",
)
async def _update(call: Call) -> web.Response:
    project = find_project(call)
    robot = call.harbor.robot(call.principal)
    if call.principal.kind != "admin" and not (
        robot and robot.may(project.name, "project", "update")
    ):
        raise Refusal(403, "FORBIDDEN", "forbidden")
    metadata = _strings(call.body.get("metadata") or {})
    if metadata.get("retention_id", "") not in ("", project.metadata.get("retention_id")):
        raise bad_request(
            "the retention_id in the request's payload when updating a project should be omitted,"
            " alternatively passing the one that has already been associated to this project"
        )
    project.metadata |= metadata
    project.updated = now()
    return ok()


@PROJECTS.add(
    "DELETE", "/projects/{project}", fact="recorded: project delete, absent", needs="login"
)
async def _delete(call: Call) -> web.Response:
    project = find_project(call)
    if call.principal.kind != "admin":
        raise Refusal(403, "FORBIDDEN", "forbidden")
    if project.repositories:
        raise Refusal(412, "PRECONDITION", f"precondition failed: {_NOT_EMPTY}")
    del call.harbor.state.projects[project.id]
    return ok()


@PROJECTS.add(
    "GET",
    "/projects/{project}/_deletable",
    fact="recorded: project delete, with repositories: the check before",
    needs="login",
)
async def _deletable(call: Call) -> web.Response:
    project = find_project(call)
    return shown({"message": _NOT_EMPTY} if project.repositories else {"deletable": True})


@PROJECTS.add(
    "GET",
    "/projects/{project}/metadatas/",
    fact="recorded: project metadata list",
    needs="login",
)
async def _metadatas(call: Call) -> web.Response:
    return shown(dict(find_project(call).metadata))


@PROJECTS.add(
    "GET",
    "/quotas",
    fact="recorded: quota of the project",
    query="reference reference_id page page_size sort",
    needs="admin",
    permission=("quota", "list"),
)
async def _quotas(call: Call) -> web.Response:
    wanted = call.request.query.get("reference_id")
    projects = call.harbor.state.projects.values()
    return page_of(
        call, [_quota(project) for project in projects if wanted in (None, str(project.id))]
    )


@PROJECTS.add(
    "PUT",
    "/quotas/{id}",
    fact="recorded: quota update",
    keys="hard",
    needs="admin",
    permission=("quota", "update"),
)
async def _set_quota(call: Call) -> web.Response:
    number, storage = call.match["id"], call.body["hard"]["storage"]
    projects = call.harbor.state.projects.values()
    project = next((p for p in projects if str(p.quota_id) == number), None)
    if project is None:
        raise Refusal(404, "NOT_FOUND", f"quota {number} not found")
    if storage == 0 or storage < -1:
        raise bad_request(f"invalid non-positive value for quota limit, value={storage}")
    project.storage = storage
    return ok()


def _quota(project: Project) -> dict[str, Any]:
    return {
        "creation_time": project.created,
        "hard": {"storage": project.storage},
        "id": project.quota_id,
        "ref": {"id": project.id, "name": project.name, "owner_name": ""},
        "update_time": project.updated,
        "used": {"storage": 0},
    }


def find_project(call: Call) -> Project:
    """
    Return the project that the path names, if whoever asks may see it.

    An all-digit name is taken as a number unless the request says that it is a name.
    """
    name, state = call.match["project"], call.harbor.state
    by_name = call.request.headers.get("X-Is-Resource-Name", "").lower() == "true"
    if name.isdigit() and not by_name:
        project = state.projects.get(int(name))
    else:
        project = state.project(name)
    if project is not None and _may_read(call, project):
        return project
    if call.principal.kind == "admin":
        raise Refusal(404, "NOT_FOUND", f"project {name} not found")
    if call.principal.kind == "anonymous":
        raise Refusal(401, "UNAUTHORIZED", "unauthorized")
    raise Refusal(403, "FORBIDDEN", "forbidden")


def _may_read(call: Call, project: Project) -> bool:
    robot = call.harbor.robot(call.principal)
    return (
        project.public
        or call.principal.kind == "admin"
        or (robot is not None and robot.may(project.name, "project", "read"))
    )


def _role(call: Call) -> int | None:
    return 1 if call.principal.kind == "admin" else None


def _check_may_create(call: Call, *, proxy: bool) -> None:
    if call.principal.kind == "admin":
        return
    robot = call.harbor.robot(call.principal)
    if robot and robot.level != "system":
        raise Refusal(403, "FORBIDDEN", "Only system level robot can create project")
    if robot and robot.may_system("project", "create"):
        return
    if proxy:
        raise Refusal(403, "FORBIDDEN", "Only system admin can create proxy cache project")


def _strings(metadata: dict[str, Any]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise wrong_type("project", f"ProjectMetadata.metadata.{key}", value, "string")
    return dict(metadata)


def _check_metadata(metadata: dict[str, str]) -> None:
    """
    Check what POST checks; PUT checks nothing.
    """
    if metadata.get("public", "true") not in ("true", "false"):
        raise bad_request(f"invalid value {metadata['public']} for public")
    if "retention_id" in metadata:
        raise bad_request("the retention_id in the request's payload when creating a project")
    for key in _NUMBERS:
        try:
            int(metadata.get(key, "-1"))
        except ValueError:
            raise bad_request(f"metadata.{key} should by an int32") from None
