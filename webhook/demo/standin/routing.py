"""
Which requests the stand-in knows, and on what ground.

Every route names the recorded exchange or the seen behaviour that it answers by, and the query
and body keys that are known.  Anything else is an unknown request, which a strict stand-in takes
as an error of the test: it must not answer what no real Harbor was seen to answer.
"""

import json
import re

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.simulated import Principal, SimulatedHarbor


__all__ = [
    "API_VERSION",
    "Call",
    "FrontGaveUpError",
    "Refusal",
    "Route",
    "Router",
    "check_well_formed",
    "errors",
    "read_body",
]


API_VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}


@dataclass(slots=True)
class Call:
    """
    One request, as handlers see it.
    """

    harbor: SimulatedHarbor
    request: web.BaseRequest
    match: Mapping[str, str]
    principal: Principal
    body: Any = None


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error.
    """
    An answer with an error body, raised from anywhere.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class FrontGaveUpError(Exception):
    """
    Harbor took too long, and its nginx answered in its place.
    """


def errors(refusal: Refusal, headers: Mapping[str, str] | None = None) -> web.Response:
    """
    Return the body that Harbor gives with errors.
    """
    return web.json_response(
        {"errors": [{"code": refusal.code, "message": refusal.message}]},
        status=refusal.status,
        headers=headers,
    )


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """
    A request that is known.

    Attributes:
        fact: the recorded exchange, or what was seen of Harbor, that the answer goes by.
        query: the query keys that are known.
        keys: the body's keys that are known, where it has a body.
        needs: who may: ``anyone``, ``login`` or ``admin``.
    """

    methods: frozenset[str]
    pattern: re.Pattern[str]
    handler: Handler
    fact: str
    query: frozenset[str] = frozenset()
    keys: frozenset[str] | None = None
    needs: str = "anyone"
    system_permission: tuple[str, str] | None = None


_NAMED: Final = re.compile(r"\{(\w+)(\*?)\}|[^{}]+")


def _group(part: re.Match[str]) -> str:
    if part[1] is None:
        return re.escape(part[0])
    return f"(?P<{part[1]}>.+)" if part[2] else f"(?P<{part[1]}>[^/]+)"


class Router:
    """
    A list of routes, filled by decorators.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.routes: list[Route] = []

    def add(
        self,
        methods: str,
        path: str,
        *,
        fact: str,
        query: str = "",
        keys: str | None = None,
        needs: str = "anyone",
        permission: tuple[str, str] | None = None,
    ) -> Callable[[Handler], Handler]:
        """
        Register a handler; ``{name}`` stands for one segment, ``{name*}`` for some.
        """
        pattern = _NAMED.sub(_group, self._prefix + path)

        def register(handler: Handler) -> Handler:
            self.routes.append(
                Route(
                    frozenset(methods.split()),
                    re.compile(pattern),
                    handler,
                    fact,
                    frozenset(query.split()),
                    None if keys is None else frozenset(keys.split()),
                    needs,
                    permission,
                )
            )
            return handler

        return register

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """
        Return the route for a request, and what its path names.
        """
        for route in self.routes:
            match = route.pattern.fullmatch(path)
            if match and method in route.methods:
                return route, match.groupdict()
        return None

    def knows(self, path: str) -> bool:
        """
        Tell whether the path is known with any method.
        """
        return any(route.pattern.fullmatch(path) for route in self.routes)


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
