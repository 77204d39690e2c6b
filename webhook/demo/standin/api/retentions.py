"""
Retention policies, and rules about tags that stay.
"""

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import (
    bad_request,
    check_cron,
    created,
    ok,
    page_of,
    shown,
)
from webhook.demo.standin.api.projects import find_project
from webhook.demo.standin.routing import Call, Refusal, Router


__all__ = ["RETENTIONS"]

RETENTIONS: Final = Router("/api/v2.0")

_KEYS: Final = "id algorithm rules trigger scope"
_NEXT: Final = {"next_scheduled_time": "2030-01-01T00:00:00.000Z"}


@RETENTIONS.add("GET", "/retentions/{id}", fact="recorded: retention get", needs="login")
async def _get(call: Call) -> web.Response:
    return shown(_policy(call))


@RETENTIONS.add(
    "PUT",
    "/retentions/{id}",
    fact="recorded: retention update, nine times",
    keys=_KEYS,
    needs="login",
)
async def _update(call: Call) -> web.Response:
    policy = _policy(call)
    _check(call)
    policy |= {key: call.body[key] for key in ("algorithm", "rules")}
    policy["trigger"] = _trigger(call)
    return ok()


@RETENTIONS.add(
    "POST",
    "/retentions",
    fact="recorded: retention create, where there is one, for an absent project",
    keys=_KEYS,
    needs="login",
)
async def _create(call: Call) -> web.Response:
    state, number = call.harbor.state, call.body["scope"]["ref"]
    project = state.projects.get(number)
    _check(call)
    if project is None:
        raise bad_request(f"bad request: invalid Project id {number}")
    if held := project.metadata.get("retention_id"):
        raise bad_request(f"bad request: project {number} already has retention policy {held}")
    policy = state.next_id("retention")
    state.retentions[policy] = {**call.body, "id": policy, "trigger": _trigger(call)}
    project.metadata["retention_id"] = str(policy)
    return created(f"/api/v2.0/retentions/{policy}")


@RETENTIONS.add("DELETE", "/retentions/{id}", fact="recorded: retention delete", needs="admin")
async def _delete(call: Call) -> web.Response:
    policy, state = _policy(call), call.harbor.state
    del state.retentions[policy["id"]]
    for project in state.projects.values():
        if project.metadata.get("retention_id") == str(policy["id"]):
            del project.metadata["retention_id"]
    return ok()


def _policy(call: Call) -> dict[str, Any]:
    number = call.match["id"]
    policy = call.harbor.state.retentions.get(int(number)) if number.isdigit() else None
    if policy is None:  # Seen for one that was deleted.
        raise Refusal(500, "UNKNOWN", "internal server error")
    return policy


def _trigger(call: Call) -> dict[str, Any]:
    trigger: dict[str, Any] = call.body["trigger"]
    settings = {"cron": trigger["settings"]["cron"]}
    return {**trigger, "settings": settings | (_NEXT if settings["cron"] else {})}


def _check(call: Call) -> None:
    if call.principal.kind != "admin":
        raise Refusal(403, "FORBIDDEN", "forbidden")
    if cron := call.body["trigger"]["settings"]["cron"]:
        check_cron(cron, "tag retention")
    rules = call.body["rules"]
    for later, rule in enumerate(rules):
        for earlier in range(later):
            if rules[earlier] == rule:
                message = f"resource conflict: rule {later} is conflict with rule {earlier}"
                raise Refusal(409, "CONFLICT", message)


@RETENTIONS.add(
    "GET",
    "/projects/{project}/immutabletagrules",
    fact="recorded: immutable tag rules",
    query="page page_size q sort",
    needs="login",
)
async def _immutable(call: Call) -> web.Response:
    return page_of(call, list(find_project(call).immutable.values()))


@RETENTIONS.add(
    "POST",
    "/projects/{project}/immutabletagrules",
    fact="recorded: immutable tag rule create",
    keys="id disabled scope_selectors tag_selectors action priority template params",
    needs="admin",
)
async def _create_immutable(call: Call) -> web.Response:
    project = find_project(call)
    number = call.harbor.state.next_id("immutable")
    selectors = {key: call.body[key] for key in ("scope_selectors", "tag_selectors")}
    project.immutable[number] = {"id": number, **selectors}
    return created(f"/api/v2.0/projects/{project.name}/immutabletagrules/{number}")


@RETENTIONS.add(
    "DELETE",
    "/projects/{project}/immutabletagrules/{id}",
    fact="recorded: immutable tag rule delete",
    needs="admin",
)
async def _delete_immutable(call: Call) -> web.Response:
    project, number = find_project(call), call.match["id"]
    if not number.isdigit() or project.immutable.pop(int(number), None) is None:
        raise Refusal(404, "NOT_FOUND", f"immutable tag rule {number} not found")
    return ok()
