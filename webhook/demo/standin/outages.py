"""
What Harbor does while one of its components is out, as seen component by component.
"""

import asyncio

from typing import Final

from aiohttp import web

from webhook.demo.standin.simulated import SimulatedHarbor


__all__ = ["answer_with_outage"]

_REDIS_DELAY: Final = 0.5
_DATABASE_MESSAGE: Final = "failed to connect to database: dial tcp: connect: connection refused"


async def answer_with_outage(
    harbor: SimulatedHarbor, request: web.BaseRequest
) -> web.Response | None:
    """
    Answer as the outage has it; return ``None`` where it does not show.
    """
    path = request.path
    if "redis" in harbor.down:
        await asyncio.sleep(_REDIS_DELAY)
    if "database" in harbor.down and not _needs_no_database(path):
        status = 500 if path == "/api/v2.0/projects" or request.method == "POST" else 401
        code = "UNKNOWN" if status == 500 else "UNAUTHORIZED"
        message = "internal server error" if status == 500 else _DATABASE_MESSAGE
        return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)
    return None


def _needs_no_database(path: str) -> bool:
    return path in ("/api/v2.0/ping", "/api/v2.0/health", "/api/version", "/v2/") or (
        path.startswith("/service/token")
    )
