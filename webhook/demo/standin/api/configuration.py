"""
Harbor's configuration, the check of an OIDC issuer, and garbage collection.
"""

import json

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import (
    bad_request,
    check_cron,
    created,
    ok,
    page_of,
    shown,
    wrong_type,
)
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
        raise bad_request(
            "bad request: item name auth_mode: invalid auth_mode, shoud be one of "
            + ", ".join(_AUTH_MODES)
        )
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
    if call.body.get("url", "") not in call.harbor.issuers:  # Seen: with its slash, or without.
        raise bad_request("failed to verify connection")
    return ok()


@CONFIGURATION.add("GET", "/system/gc/schedule", fact="recorded: gc schedule get", needs="admin")
async def _gc(call: Call) -> web.Response:
    schedule = call.harbor.state.gc_schedule
    if schedule is None:
        return web.Response(headers={"Content-Type": "application/json"})
    return shown(schedule)


@CONFIGURATION.add(
    "GET", "/system/gc", fact="recorded: gc history", query="page page_size q sort", needs="admin"
)
async def _gc_history(call: Call) -> web.Response:
    return page_of(call, [])


@CONFIGURATION.add(
    "POST PUT",
    "/system/gc/schedule",
    fact="recorded: gc schedule, fourteen times; POST replaces too, the type None takes away",
    keys="schedule parameters",
    needs="admin",
)
async def _set_gc(call: Call) -> web.Response:
    state, schedule = call.harbor.state, call.body["schedule"]
    if "jobservice" in call.harbor.down:
        raise Refusal(500, "UNKNOWN", "internal server error")
    if schedule["type"] == "None":
        state.gc_schedule = None
        return ok()
    check_cron(schedule["cron"], "gc")
    wanted = call.body.get("parameters") or {}
    # Seen: dry_run is never shown.
    parameters = {
        "delete_tag": False,
        "delete_untagged": bool(wanted.get("delete_untagged", False)),
        "workers": int(wanted.get("workers", 0)),
    }
    state.gc_schedule = {
        "creation_time": now(),
        "id": state.next_id("gc"),
        "job_kind": schedule["cron"],
        "job_parameters": json.dumps(parameters, separators=(",", ":")),
        "job_status": "Running",
        "schedule": {**schedule, "next_scheduled_time": "2030-01-01T00:00:00.000Z"},
        "update_time": now(),
    }
    return created("/api/v2.0/system/gc/0") if call.request.method == "POST" else ok()


@CONFIGURATION.add(
    "GET",
    "/auditlog-exts",
    fact="recorded: audit log",
    query="page page_size q sort",
    needs="admin",
)
async def _audit(call: Call) -> web.Response:
    return page_of(call, call.harbor.state.audit)
