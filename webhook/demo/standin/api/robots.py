"""
Robot accounts.
"""

import re
import secrets

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import bad_request, created, ok, page_of, shown
from webhook.demo.standin.routing import Call, Refusal, Router
from webhook.demo.standin.state import Robot


__all__ = ["ROBOTS"]

ROBOTS: Final = Router("/api/v2.0")

_KEYS: Final = "name description secret level disable duration permissions"
_PUT_KEYS: Final = (
    f"{_KEYS} id editable expires_at creation_time update_time creator_type creator_ref"
)
_SECRET: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{8,128}")


@ROBOTS.add(
    "GET",
    "/robots",
    fact="API description: GET /robots; q and paging as in every list",
    query="q page page_size sort",
    needs="admin",
    permission=("robot", "list"),
)
async def _list(call: Call) -> web.Response:
    return page_of(call, [robot.shown() for robot in call.harbor.state.robots.values()])


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
    name = f"robot${body['name']}"
    if any(robot.name == name for robot in state.robots.values()):
        raise Refusal(409, "CONFLICT", f"robot account 0:{body['name']} already exists")
    robot = Robot(
        state.next_id("robot"),
        name,
        body["level"],
        f"Aa1{secrets.token_urlsafe(24)}",
        body["duration"],
        body["permissions"],
        description=body.get("description", ""),
    )
    state.robots[robot.id] = robot
    return created(
        f"/api/v2.0/robots/{robot.id}",
        {
            "creation_time": robot.created,
            "expires_at": -1,
            "id": robot.id,
            "name": robot.name,
            "secret": robot.secret,
        },
    )


@ROBOTS.add(
    "PUT",
    "/robots/{id}",
    fact="API description: PUT /robots/{id}",
    keys=_PUT_KEYS,
    needs="admin",
    permission=("robot", "update"),
)
async def _update(call: Call) -> web.Response:
    robot, body = _find(call), call.body
    _check(call, body)
    robot.permissions = body["permissions"]
    robot.duration = body["duration"]
    robot.description = body.get("description", "")
    robot.disable = bool(body.get("disable", False))
    return ok()


@ROBOTS.add(
    "PATCH",
    "/robots/{id}",
    fact="seen: PATCH sets the secret; 8-128 characters, upper, lower and digit, else 400",
    keys="secret",
    needs="admin",
    permission=("robot", "update"),
)
async def _set_secret(call: Call) -> web.Response:
    robot = _find(call)
    if not _SECRET.fullmatch(call.body.get("secret", "")):
        raise bad_request(
            "the secret must be 8-128, inclusively, characters long with at least 1 uppercase "
            "letter, 1 lowercase letter and 1 number"
        )
    robot.secret = call.body["secret"]
    return shown({"secret": ""})


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
        if permission["kind"] == "project" and permission["namespace"] != "*":
            name = permission["namespace"]
            if call.harbor.state.project(name) is None:
                raise Refusal(404, "NOT_FOUND", f"project {name} not found")
