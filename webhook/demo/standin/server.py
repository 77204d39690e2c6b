"""
The stand-in as a server: one port, one state, one fault at a time.
"""

import asyncio
import secrets
import ssl

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from aiohttp import web

from webhook.demo.listening import Listening
from webhook.demo.standin.api import ROUTERS
from webhook.demo.standin.faults import (
    CONNECTION_FAULTS,
    BlackHole,
    Fault,
    answer_with_fault,
    nginx_page,
)
from webhook.demo.standin.outages import answer_with_outage
from webhook.demo.standin.registry import REGISTRY
from webhook.demo.standin.routing import (
    Call,
    FrontGaveUpError,
    Refusal,
    Route,
    check_well_formed,
    errors,
    read_body,
)
from webhook.demo.standin.simulated import CORE, Principal, SimulatedHarbor
from webhook.demo.standin.state import ADMIN, State, now


__all__ = ["HarborStandIn", "Seen", "UnknownRequestError"]

_ROUTERS: Final = (*ROUTERS, REGISTRY)
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HTTP_SERVER_ERROR: Final = 500


class UnknownRequestError(AssertionError):
    """
    A strict stand-in was asked something that no real Harbor was seen to answer.
    """


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A request that arrived, for tests to look at.
    """

    method: str
    path: str
    query: str
    principal: str
    body: Any
    status: int

    @property
    def writes(self) -> bool:
        """
        Tell whether it may have changed something.
        """
        return self.method in _WRITES and not self.path.endswith("/ping")


class HarborStandIn(SimulatedHarbor):
    """
    A simulated Harbor on a port; what it holds is kept over `stop` and `start`.

    Attributes:
        requests: all that was asked.
        in_flight: how many requests are being answered.
        most_in_flight: how many there were at most.
        unknown: requests that nothing is known of; `close` raises about them where *strict*.
    """

    def __init__(
        self,
        state: State | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        strict: bool = True,
        forward: Mapping[str, str] | None = None,
        login_delay: float = 0.0,
        slow_delay: float = 5.0,
        black_hole_delay: float = 30.0,
        front_timeout: float = 60.0,
        answer_delay: float = 0.0,
    ) -> None:
        """
        Prepare one; nothing listens before `start`.

        Every answer takes *answer_delay* seconds at least.  The rest is for the Harbor behind it,
        see `SimulatedHarbor`.
        """
        super().__init__(
            state,
            forward=forward,
            login_delay=login_delay,
            slow_delay=slow_delay,
            black_hole_delay=black_hole_delay,
            front_timeout=front_timeout,
        )
        self.host = host
        self.port = port
        self.strict = strict
        self.answer_delay = answer_delay
        self.fault = Fault.NONE
        self.requests: list[Seen] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.unknown: list[str] = []
        self.external_scheme = "https" if tls else "http"
        self._tls = tls
        self._listening: Listening | None = None
        self._black_hole: BlackHole | None = None

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
        if error is None and self.strict and self.unknown:
            raise UnknownRequestError(
                "no real Harbor was seen to answer:\n" + "\n".join(self.unknown)
            )

    @property
    def url(self) -> str:
        """
        Return the URL to talk to, without a slash at the end.
        """
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    async def start(self) -> None:
        """
        Listen: on a free port the first time, on the same one ever after.
        """
        if self._black_hole is not None:
            self._black_hole.close()
            self._black_hole = None
        if self._listening is not None:
            return
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        self._listening = Listening(server)
        self.port = await self._listening.open(self.host, self.port, self._tls)

    async def stop(self) -> None:
        """
        Drop all connections and give the port back, as a Harbor that was killed.
        """
        if self._listening is not None:
            listening, self._listening = self._listening, None
            await listening.close(at_once=True)

    async def close(self) -> None:
        """
        Stop for good.
        """
        await self.stop()
        if self._black_hole is not None:
            self._black_hole.close()
            self._black_hole = None
        for upstream in self.upstreams.values():
            await upstream.close()

    async def set_fault(self, fault: Fault, project: str | None = None) -> None:
        """
        Let something go wrong, with all of Harbor or with one project, until it is set again.
        """
        if project is not None:
            self.project_faults[project] = fault
            return
        self.fault = fault
        if fault not in CONNECTION_FAULTS:
            await self.start()
            return
        await self.stop()
        if fault is Fault.BLACK_HOLE and self._black_hole is None:
            self._black_hole = BlackHole(self.host, self.port)

    # Requests.

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body: Any = None
        principal = Principal()
        status = 0
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.answer_delay)
            fault = await answer_with_fault(self.fault, request, self.slow_delay)
            if fault is not None:
                status = fault.status
                return fault
            body = await read_body(request)
            principal, response = await self._answer(request, body)
            status = response.status
            if not response.prepared:
                response.headers["Server"] = "nginx"
                if "sid" not in request.cookies:
                    response.set_cookie("sid", secrets.token_hex(16), path="/", httponly=True)
            return response
        finally:
            self.in_flight -= 1
            parts = urlsplit(request.path_qs)
            self.requests.append(
                Seen(request.method, parts.path, parts.query, principal.name, body, status)
            )

    async def _answer(
        self, request: web.BaseRequest, body: Any
    ) -> tuple[Principal, web.StreamResponse]:
        path = request.rel_url.raw_path
        found = next((f for r in _ROUTERS if (f := r.find(request.method, path))), None)
        if CORE in self.down:
            response = await answer_with_fault(Fault.BAD_GATEWAY, request, 0)
            assert response is not None  # noqa: S101
            return Principal(), response
        if (outage := await answer_with_outage(self, request)) is not None:
            return Principal(), outage
        if found is None:
            if request.method == "HEAD" and any(r.knows(path) for r in _ROUTERS):
                return Principal(), web.Response(status=405)
            return Principal(), self._unknown(request, "no such path")
        route, match = found
        if (project := match.get("project")) and project in self.project_faults:
            fault = self.project_faults[project]
            response = await answer_with_fault(fault, request, self.slow_delay)
            if response is not None:
                return Principal(), response
        if odd := set(request.query) - route.query:
            return Principal(), self._unknown(request, f"query {sorted(odd)}")
        if isinstance(body, dict) and route.keys is not None and (odd := set(body) - route.keys):
            return Principal(), self._unknown(request, f"body {sorted(odd)}")
        principal = await self.who_asks(request.headers.get("Authorization", ""))
        match_decoded = {name: unquote(value) for name, value in match.items()}
        try:
            self._check(request, route, principal)
            check_well_formed(body, path)
            call = Call(self, request, match_decoded, principal, body)
            response = await route.handler(call)
            if request.method in _WRITES and response.status < 300:
                self._remember(request, principal)
            return principal, response
        except Refusal as refusal:
            return principal, errors(refusal)
        except FrontGaveUpError:
            return principal, nginx_page(504, "Gateway Time-out")

    def _check(self, request: web.BaseRequest, route: Route, principal: Principal) -> None:
        if request.method in _WRITES and "sid" in request.cookies:
            raise Refusal(403, "FORBIDDEN", "CSRF token not found in request")
        self._check_may_write(request)
        if route.needs == "anyone" or principal.kind == ADMIN:
            return
        if principal.kind == "anonymous":
            raise Refusal(401, "UNAUTHORIZED", "unauthorized")
        if route.needs == "login":
            return
        robot = self.robot(principal)
        if robot and route.system_permission and robot.may_system(*route.system_permission):
            return
        raise Refusal(403, "FORBIDDEN", "forbidden")

    def _remember(self, request: web.BaseRequest, principal: Principal) -> None:
        """
        Put a change into the audit log.
        """
        operation = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
        done = operation[request.method]
        resource = request.path.removeprefix("/api/v2.0/").partition("/")[0].rstrip("s")
        entry = {
            "id": self.state.next_id("audit"),
            "op_time": now(),
            "operation": done,
            "operation_description": f"{done} {resource}",
            "operation_result": True,
            "resource": resource,
            "resource_type": resource,
            "username": principal.name,
        }
        self.state.audit.insert(0, entry)

    def _check_may_write(self, request: web.BaseRequest) -> None:
        """
        Refuse every change in read-only mode, pings included; but for ending that mode.
        """
        if (
            request.method in _WRITES
            and self.state.configuration["read_only"]
            and not request.path.endswith("/configurations")
        ):
            raise Refusal(
                403,
                "DENIED",
                "The system is in read only mode. Any modification is prohibited.",
            )

    def _unknown(self, request: web.BaseRequest, why: str) -> web.Response:
        self.unknown.append(f"{request.method} {request.path_qs} ({why})")
        refusal = Refusal(404, "NOT_FOUND", f"path {request.path} was not found")
        return errors(refusal)
