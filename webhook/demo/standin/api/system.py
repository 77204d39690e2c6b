"""
Health, version and who is asking.
"""

from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.api.answers import shown
from webhook.demo.standin.routing import Call, Router
from webhook.demo.standin.simulated import COMPONENTS
from webhook.demo.standin.state import now


__all__ = ["SYSTEM"]

SYSTEM: Final = Router("/api")

# What the absence of a component makes of others.
_DRAGGED_ALONG: Final = {"redis": {"jobservice"}}


@SYSTEM.add("GET", "/v2.0/ping", fact="recorded: ping")
async def _ping(_: Call) -> web.Response:
    return web.Response(body=b"Pong", headers={"Content-Type": "text/plain"})


@SYSTEM.add("GET", "/version", fact="recorded: version")
async def _version(_: Call) -> web.Response:
    return web.Response(
        body=b'{"version":"v2.0"}\n', headers={"Content-Type": "text/plain; charset=utf-8"}
    )


@SYSTEM.add("GET", "/v2.0/health", fact="recorded: health; always 200, the body tells")
async def _health(call: Call) -> web.Response:
    down = set(call.harbor.down)
    for name in call.harbor.down:
        down |= _DRAGGED_ALONG.get(name, set())
    components: list[dict[str, str]] = []
    for name in COMPONENTS:
        component = {"name": name, "status": "healthy"}
        if name in down:
            component |= {"status": "unhealthy", "error": f"failed to check health: {name}"}
        components.append(component)
    return shown(
        {"components": components, "status": "unhealthy" if down else "healthy"},
    )


@SYSTEM.add("GET", "/v2.0/systeminfo", fact="recorded: systeminfo anonymous, systeminfo admin")
async def _systeminfo(call: Call) -> web.Response:
    configuration = call.harbor.state.configuration
    info: dict[str, Any] = {
        "auth_mode": configuration["auth_mode"],
        "banner_message": "",
        "oidc_provider_name": configuration["oidc_name"],
        "primary_auth_mode": configuration["primary_auth_mode"],
        "self_registration": configuration["self_registration"],
    }
    if call.principal.name:
        info |= {
            "current_time": now(),
            "external_url": f"{call.harbor.external_scheme}://{call.request.host}",
            "harbor_version": call.harbor.version,
            "has_ca_root": False,
            "notification_enable": True,
            "project_creation_restriction": "everyone",
            "read_only": configuration["read_only"],
            "registry_storage_provider_name": "filesystem",
            "registry_url": call.request.host,
        }
    return shown(info)
