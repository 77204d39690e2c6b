"""
Harbor's configuration, the check of an OIDC issuer, and garbage collection.
"""

import json

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import bad_request, created, ok, shown, wrong_type
from webhook.demo.standin.routing import Call, Refusal, Router
from webhook.demo.standin.state import now


__all__ = ["CONFIGURATION"]

CONFIGURATION: Final = Router("/api/v2.0")

_AUTH_MODES: Final = ("db_auth", "ldap_auth", "uaa_auth", "http_auth", "oidc_auth")
_WRITE_ONLY: Final = frozenset({"oidc_client_secret", "ldap_search_password"})


@CONFIGURATION.add(
    "GET", "/configurations", fact="recorded: configuration get, anonymous", needs="admin"
)
async def _get(call: Call) -> web.Response:
    state = call.harbor.state
    values: dict[str, Any] = {
        key: {"editable": key != "auth_mode" or not state.users, "value": value}
        for key, value in state.configuration.items()
    }
    return shown(values | {"scan_all_policy": {}})


@CONFIGURATION.add(
    "PUT", "/configurations", fact="seen: partial, 200 empty; unknown keys pass", needs="admin"
)
async def _put(call: Call) -> web.Response:
    state, body = call.harbor.state, call.body
    for key, value in body.items():
        _check(call, key, value)
    for key, value in body.items():
        if key == "oidc_client_secret":
            state.oidc_client_secret = value
        elif key in state.configuration:
            state.configuration[key] = value
    return ok()


def _check(call: Call, key: str, value: Any) -> None:
    state = call.harbor.state
    if key in _WRITE_ONLY:
        return
    before = state.configuration.get(key)
    if isinstance(before, bool) and not isinstance(value, bool):
        raise wrong_type("configurations", f"Configurations.{key}", value, "bool")
    if isinstance(before, int) and not isinstance(value, int):
        raise wrong_type("configurations", f"Configurations.{key}", value, "int64")
    if key == "auth_mode" and value not in _AUTH_MODES:
        raise bad_request(f"invalid auth mode: {value}")
    if key == "auth_mode" and value != before and state.users:
        raise bad_request(
            "the auth mode cannot be modified as new users have been inserted into database"
        )
    if key == "token_expiration" and value <= 0:
        raise bad_request("token_expiration must be greater than 0")
    if key == "oidc_extra_redirect_parms":
        try:
            json.loads(value)
        except ValueError:
            raise bad_request(f"the string {value} is not a valid JSON") from None


@CONFIGURATION.add(
    "POST",
    "/system/oidc/ping",
    fact="recorded: oidc ping unreachable issuer",
    keys="url verify_cert",
    needs="admin",
)
async def _oidc_ping(call: Call) -> web.Response:
    if call.body.get("url", "").rstrip("/") not in call.harbor.issuers:
        raise bad_request("failed to verify connection")
    return ok()


@CONFIGURATION.add("GET", "/system/gc/schedule", fact="recorded: gc schedule get", needs="admin")
async def _gc(call: Call) -> web.Response:
    schedule = call.harbor.state.gc_schedule
    if schedule is None:
        return web.Response(headers={"Content-Type": "application/json"})
    return shown(schedule)


@CONFIGURATION.add(
    "POST PUT",
    "/system/gc/schedule",
    fact="API description: /system/gc/schedule; 409 where one is set, by POST",
    keys="schedule parameters",
    needs="admin",
)
async def _set_gc(call: Call) -> web.Response:
    state, schedule = call.harbor.state, call.body["schedule"]
    if "jobservice" in call.harbor.down:
        raise Refusal(500, "UNKNOWN", "internal server error")
    if call.request.method == "POST" and state.gc_schedule is not None:
        raise Refusal(
            412, "PRECONDITION", "fail to set schedule for GC as always had one, please delete it"
        )
    state.gc_schedule = {
        "creation_time": now(),
        "id": 1,
        "job_kind": "SCHEDULE",
        "job_name": "GARBAGE_COLLECTION",
        "job_parameters": json.dumps(call.body.get("parameters") or {}),
        "schedule": {**schedule, "next_scheduled_time": "2030-01-01T00:00:00.000Z"},
        "update_time": now(),
    }
    if call.request.method == "POST":
        return created("/api/v2.0/system/gc/1")
    return ok()
