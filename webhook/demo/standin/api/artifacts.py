"""
What a project has cached, as the API lists it.
"""

import json

from typing import Any, Final
from urllib.parse import quote, unquote

from aiohttp import web

from webhook.demo.standin.api.answers import page_of
from webhook.demo.standin.api.projects import find_project
from webhook.demo.standin.routing import Call, Refusal, Router
from webhook.demo.standin.state import Project, now


__all__ = ["ARTIFACTS"]

ARTIFACTS: Final = Router("/api/v2.0")

_ICON: Final = "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06"


@ARTIFACTS.add(
    "GET",
    "/projects/{project}/repositories/{repository}/artifacts",
    fact="recorded: artifacts of a cached repository; its name is encoded twice",
    query="page page_size q sort with_tag",
)
async def _list(call: Call) -> web.Response:
    project, repository = find_project(call), unquote(call.match["repository"])
    if repository not in project.repositories:
        name = f"{project.name}/{repository}"
        raise Refusal(404, "NOT_FOUND", f"repository {name} not found")
    held = [key for key in project.manifests if key.partition("@")[0] == repository]
    artifacts = [_shown(project, key, number) for number, key in enumerate(held, 1)]
    return page_of(call, artifacts)


def _shown(project: Project, key: str, number: int) -> dict[str, Any]:
    repository, _, digest = key.partition("@")
    content, media_type = project.manifests[key]
    manifest = json.loads(content)
    config = json.loads(project.blobs.get(manifest["config"]["digest"], b"{}"))
    path = f"/api/v2.0/projects/{project.name}/repositories/{quote(quote(repository, safe=''))}"
    size = len(content) + sum(part["size"] for part in (manifest["config"], *manifest["layers"]))
    tags = [
        {
            "artifact_id": number,
            "id": number,
            "immutable": False,
            "name": tag.rpartition(":")[2],
            "pull_time": now(),
            "push_time": now(),
            "repository_id": number,
        }
        for tag, known in project.tags.items()
        if known == digest and tag.rpartition(":")[0] == repository
    ]
    history = f"{path}/artifacts/{digest}/additions/build_history"
    return {
        "accessories": None,
        "addition_links": {"build_history": {"absolute": False, "href": history}},
        "artifact_type": manifest["config"]["mediaType"],
        "digest": digest,
        "extra_attrs": {
            "architecture": config.get("architecture", ""),
            "author": config.get("author", ""),
            "config": config.get("config", {}),
            "created": config.get("created", ""),
            "os": config.get("os", ""),
        },
        "icon": _ICON,
        "id": number,
        "labels": None,
        "manifest_media_type": media_type,
        "media_type": manifest["config"]["mediaType"],
        "project_id": project.id,
        "pull_time": now(),
        "push_time": now(),
        "references": None,
        "repository_id": number,
        "repository_name": f"{project.name}/{repository}",
        "size": size,
        "tags": tags or None,
        "type": "IMAGE",
    }
