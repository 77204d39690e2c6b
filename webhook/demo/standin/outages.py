"""
What Harbor does while one of its components is out, as seen component by component.
"""

import asyncio

from typing import Final

from aiohttp import web

from webhook.demo.standin.routing import API_VERSION, Refusal, errors
from webhook.demo.standin.simulated import SimulatedHarbor


__all__ = ["answer_with_outage"]

_REDIS_DELAY: Final = 0.5
_DATABASE_MESSAGE: Final = (
    "failed to connect to `user=postgres database=registry`: 192.0.2.1:5432 (192.0.2.1): "
    "dial error: dial tcp 192.0.2.1:5432: connect: connection refused"
)
_PUBLIC: Final = ("/api/v2.0/ping", "/api/v2.0/health", "/api/version", "/v2/", "/service/token")


async def answer_with_outage(
    harbor: SimulatedHarbor, request: web.BaseRequest
) -> web.Response | None:
    """
    Answer as the outage has it; return ``None`` where it does not show.
    """
    if "redis" in harbor.down:
        await asyncio.sleep(_REDIS_DELAY)
    if "database" in harbor.down and request.path not in _PUBLIC:
        return _without_database(request)
    return None


def _without_database(request: web.BaseRequest) -> web.Response:
    if request.path.startswith("/v2/"):
        refusal = Refusal(401, "UNAUTHORIZED", f"{_DATABASE_MESSAGE}: {_DATABASE_MESSAGE}")
        return errors(refusal, {"Www-Authenticate": "", **API_VERSION})
    # Nobody's password can be looked up; what is open to everyone can't be read.
    signed = "Authorization" in request.headers
    if signed and request.method == "GET" and request.path != "/api/v2.0/projects":
        return errors(Refusal(401, "UNAUTHORIZED", "unauthorized"))
    return errors(Refusal(500, "UNKNOWN", "internal server error"))
