"""
Robot accounts.
"""

import re
import secrets

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import (
    bad_request,
    conditions_of,
    created,
    ok,
    page_of,
    shown,
)
from webhook.demo.standin.routing import Call, Refusal, Router
from webhook.demo.standin.state import ROBOT_PREFIX, Robot, now


__all__ = ["ROBOTS"]

ROBOTS: Final = Router("/api/v2.0")

_KEYS: Final = "name description secret level disable duration permissions"
_PUT_KEYS: Final = (
    f"{_KEYS} id editable expires_at creation_time update_time creator_type creator_ref"
)
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_ACTIONS: Final = frozenset(
    {"create", "read", "update", "delete", "list", "pull", "push", "operate", "stop"}
)
_SECRET: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{8,128}")


@ROBOTS.add(
    "GET",
    "/robots",
    fact="recorded: robots list, find by name; those of a project by q=Level=project,ProjectID=1",
    query="q page page_size sort",
    needs="admin",
    permission=("robot", "list"),
)
async def _list(call: Call) -> web.Response:
    conditions, state = conditions_of(call), call.harbor.state
    if conditions.get("Level", "system") == "project":
        if not conditions.get("ProjectID", "").isdigit():
            raise bad_request("must with project ID when to query project robots")
        project = int(conditions["ProjectID"])
        robots = [r for r in state.robots.values() if r.project_id == project]
    else:
        robots = [r for r in state.robots.values() if r.level == "system"]
    if name := conditions.get("name"):  # Seen: without the prefix.
        robots = [r for r in robots if r.bare_name == name]
    robots.sort(key=lambda robot: robot.bare_name)
    return page_of(call, [robot.shown(state.robot_prefix) for robot in robots], by_name=False)


@ROBOTS.add(
    "POST",
    "/robots",
    fact="recorded: robot create, robot create twice; a sent secret is ignored",
    keys=_KEYS,
    needs="admin",
    permission=("robot", "create"),
)
async def _create(call: Call) -> web.Response:
    state, body = call.harbor.state, call.body
    _check(call, body)
    if not _NAME.fullmatch(body["name"]):
        raise bad_request("robot name is not in lower case or contains illegal characters")
    name = f"{ROBOT_PREFIX}{body['name']}"
    if any(robot.name == name for robot in state.robots.values()):
        raise Refusal(409, "CONFLICT", f"robot account 0:{body['name']} already exists")
    robot = Robot(
        state.next_id("robot"),
        name,
        body["level"],
        _new_secret(),
        body["duration"],
        body["permissions"],
        description=body.get("description", ""),
        disable=bool(body.get("disable", False)),
    )
    if robot.level == "project":
        project = state.project(body["permissions"][0]["namespace"])
        robot.project_id = project.id if project else 0
        robot.name = f"{ROBOT_PREFIX}{body['permissions'][0]['namespace']}+{body['name']}"
    state.robots[robot.id] = robot
    return created(
        f"/api/v2.0/robots/{robot.id}",
        {
            "creation_time": robot.created,
            "expires_at": robot.expires_at,
            "id": robot.id,
            "name": f"{state.robot_prefix}{robot.bare_name}",
            "secret": robot.secret,
        },
    )


@ROBOTS.add(
    "GET",
    "/robots/{id}",
    fact="recorded: robot get, absent, disabled, expired",
    needs="admin",
    permission=("robot", "read"),
)
async def _get(call: Call) -> web.Response:
    return shown(_find(call).shown(call.harbor.state.robot_prefix))


@ROBOTS.add(
    "PUT",
    "/robots/{id}",
    fact="recorded: robot update, six times; the name with its prefix, and a lifetime from now on",
    keys=_PUT_KEYS,
    needs="admin",
    permission=("robot", "update"),
)
async def _update(call: Call) -> web.Response:
    robot, body = _find(call), call.body
    _check(call, body)
    name = f"{call.harbor.state.robot_prefix}{robot.bare_name}"
    if body.get("name") != name or body.get("level") != robot.level:
        raise bad_request("cannot update the level or name of robot")
    robot.permissions = body["permissions"]
    robot.expire_after(body["duration"])
    robot.updated = now()
    robot.description = body.get("description", "")
    robot.disable = bool(body.get("disable", False))
    return ok()


@ROBOTS.add(
    "PATCH",
    "/robots/{id}",
    fact="recorded: robot secret set, too weak, by Harbor; one that expired stays expired",
    keys="secret",
    needs="admin",
    permission=("robot", "update"),
)
async def _set_secret(call: Call) -> web.Response:
    robot = _find(call)
    robot.updated = now()
    if "secret" not in call.body:
        robot.secret = _new_secret()
        return shown({"secret": robot.secret})
    if not _SECRET.fullmatch(call.body["secret"]):
        raise bad_request(
            "the secret must be 8-128, inclusively, characters long with at least 1 uppercase "
            "letter, 1 lowercase letter and 1 number"
        )
    robot.secret = call.body["secret"]
    return shown({})


def _new_secret() -> str:
    return f"Aa1{secrets.token_urlsafe(24)}"


@ROBOTS.add("DELETE", "/robots/{id}", fact="recorded: robot delete", needs="admin")
async def _delete(call: Call) -> web.Response:
    del call.harbor.state.robots[_find(call).id]
    return ok()


def _find(call: Call) -> Robot:
    number = call.match["id"]
    robot = call.harbor.state.robots.get(int(number)) if number.isdigit() else None
    if robot is None:
        raise Refusal(404, "NOT_FOUND", f"robot {number} not found")
    return robot


def _check(call: Call, body: dict[str, Any]) -> None:
    duration, permissions = body.get("duration", 0), body.get("permissions") or []
    if duration == 0 or duration < -1:
        raise bad_request("bad request duration")
    if body.get("level") not in ("system", "project"):
        raise bad_request(f"bad request error level input: {body.get('level')}")
    if not permissions:
        raise bad_request("bad request empty permission")
    for permission in permissions:
        for access in permission["access"]:
            if access["action"] not in _ACTIONS:
                asked = f"{access['resource']}:{access['action']}"
                raise bad_request(f"bad request permission: {asked}")
        if permission["kind"] == "project" and permission["namespace"] != "*":
            name = permission["namespace"]
            if call.harbor.state.project(name) is None:
                raise Refusal(404, "NOT_FOUND", f"project {name} not found")
