"""
The bodies of requests, as Harbor takes or refuses them.
"""

import json

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from webhook.demo.standin.routing import Refusal


__all__ = ["check_well_formed", "read_body"]


@dataclass(frozen=True, slots=True)
class Malformed:
    """
    A body that is no JSON.
    """

    reason: str

    def message(self, path: str) -> str:
        """
        Return what Harbor says about it.
        """
        what = path.rstrip("s").rpartition("/")[2]
        what = "registry" if what == "registrie" else what
        return (
            f'validation failure list:\nparsing {what} body from "" failed, because {self.reason}'
        )


def check_well_formed(body: Any, path: str) -> None:
    """
    Refuse a body that is no JSON, with 422.
    """
    if isinstance(body, Malformed):
        raise Refusal(422, "UNPROCESSABLE_ENTITY", body.message(path))


async def read_body(request: web.BaseRequest) -> Any:
    """
    Return a request's JSON, or what is wrong with it for `check_well_formed`.
    """
    content = await request.read()
    if not content:
        return None
    if request.content_type != "application/json":
        return Malformed(f"unsupported media type {request.content_type}")
    try:
        return json.loads(content)
    except ValueError:
        return Malformed("unexpected EOF")
