"""
Users, and labels.
"""

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import created, ok, page_of, shown
from webhook.demo.standin.routing import Call, Refusal, Router
from webhook.demo.standin.state import now


__all__ = ["USERS"]

USERS: Final = Router("/api/v2.0")


@USERS.add("GET", "/users/current", fact="recorded: current user, as whoever asks", needs="login")
async def _current(call: Call) -> web.Response:
    if call.principal.kind == "robot":
        raise Refusal(
            412,
            "PRECONDITION",
            "get current user not available for security context: robot",
        )
    is_admin = call.principal.kind == "admin"
    profile = call.harbor.state.profiles.get(call.principal.name, {})
    user: dict[str, Any] = {
        "admin_role_in_auth": False,
        "creation_time": now(),
        "realname": call.principal.name,
        "sysadmin_flag": is_admin,
        "update_time": now(),
        "user_id": 1 if is_admin else 3,
        "username": call.principal.name,
    }
    return shown(user | ({"comment": ""} if is_admin or not profile else {}) | profile)


@USERS.add(
    "POST",
    "/users",
    fact="recorded: user create, user create under oidc",
    keys="username email realname password comment",
    needs="admin",
)
async def _create(call: Call) -> web.Response:
    state, body = call.harbor.state, call.body
    mode = state.configuration["auth_mode"]
    if mode != "db_auth":
        raise Refusal(
            403, "FORBIDDEN", f"creating local user is not allowed under auth mode: {mode}"
        )
    name, number = body["username"], state.next_id("user")
    state.users[name] = body["password"]
    state.profiles[name] = {
        "email": body["email"],
        "realname": body["realname"],
        "user_id": number,
    }
    return created(f"/api/v2.0/users/{number}")


@USERS.add("DELETE", "/users/{id}", fact="recorded: user delete", needs="admin")
async def _delete(call: Call) -> web.Response:
    state = call.harbor.state
    for name, profile in list(state.profiles.items()):
        if str(profile["user_id"]) == call.match["id"]:
            del state.profiles[name], state.users[name]
            return ok()
    raise Refusal(404, "NOT_FOUND", f"user {call.match['id']} not found")


@USERS.add(
    "GET", "/labels", fact="recorded: labels", query="scope project_id page page_size q sort name"
)
async def _labels(call: Call) -> web.Response:
    project = call.request.query.get("project_id", "0")
    labels = call.harbor.state.labels.values()
    return page_of(call, [label for label in labels if str(label["project_id"]) == project])


@USERS.add(
    "POST",
    "/labels",
    fact="recorded: label create",
    keys="name scope project_id description color",
    needs="login",
)
async def _create_label(call: Call) -> web.Response:
    state = call.harbor.state
    number = state.next_id("label")
    times = {"creation_time": now(), "update_time": now()}
    state.labels[number] = {"id": number, **call.body, **times}
    return created(f"/api/v2.0/labels/{number}")


@USERS.add("DELETE", "/labels/{id}", fact="recorded: label delete", needs="login")
async def _delete_label(call: Call) -> web.Response:
    number = call.match["id"]
    if not number.isdigit() or call.harbor.state.labels.pop(int(number), None) is None:
        raise Refusal(404, "NOT_FOUND", f"label {number} not found")
    return ok()
