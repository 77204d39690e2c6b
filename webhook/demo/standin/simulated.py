"""
A Harbor in memory: what it holds, what is out, who may log in, and where its endpoints lead to.

It listens nowhere; the handlers of requests read and change it, and `server` puts it on a port.
"""

import asyncio
import base64
import binascii
import json
import secrets

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from webhook.demo.standin.faults import Fault
from webhook.demo.standin.state import ADMIN, Endpoint, Robot, State, article_state
from webhook.demo.standin.upstream import RealUpstream, SimulatedUpstream, Upstream


__all__ = ["COMPONENTS", "CORE", "Principal", "SimulatedHarbor"]

CORE: Final = "core"

COMPONENTS: Final = (
    CORE,
    "database",
    "jobservice",
    "portal",
    "redis",
    "registry",
    "registryctl",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """
    Who asks.
    """

    name: str = ""
    """Empty for anonymous."""
    kind: str = "anonymous"
    """``anonymous``, ``admin``, ``user`` or ``robot``."""
    pulls: frozenset[str] = frozenset()
    """Where a robot's token lets it pull from: what it might when the token was handed out."""


class SimulatedHarbor:
    """
    A Harbor that isn't one.

    Attributes:
        state: what is in its database.
        upstreams: the registries that its endpoints lead to, by URL; others are asked over HTTP.
        down: components that are out, such as ``registry`` or ``database``.
        project_faults: what goes wrong with one project alone, in the API and when pulling.
        pull_faults: the same when pulling, while the API says that all is well.
        issuers: the OIDC issuers that Harbor reaches.
        tokens: the tokens that were handed out, and to whom.
        version: what it says of its release.
    """

    def __init__(
        self,
        state: State | None = None,
        *,
        forward: Mapping[str, str] | None = None,
        login_delay: float = 0.0,
        slow_delay: float = 5.0,
        black_hole_delay: float = 30.0,
        front_timeout: float = 60.0,
    ) -> None:
        """
        Prepare one.

        *forward* maps projects to real registries (URLs) that serve their manifests and blobs.
        *login_delay* is for how many seconds a wrong login is held up and locks the user (1.5 in
        Harbor), *black_hole_delay* how long Harbor waits for an upstream that drops packets,
        *front_timeout* when its nginx gives up on one that accepts and never answers.
        """
        self.state = state or article_state()
        self.upstreams: dict[str, Upstream] = {}
        for endpoint in self.state.endpoints.values():
            self.upstreams[endpoint.asks] = SimulatedUpstream()
        for project, url in (forward or {}).items():
            self.forward(project, url)
        self.login_delay = login_delay
        self.slow_delay = slow_delay
        self.black_hole_delay = black_hole_delay
        self.front_timeout = front_timeout
        self.project_faults: dict[str, Fault] = {}
        self.pull_faults: dict[str, Fault] = {}
        self.down: set[str] = set()
        self.issuers: set[str] = set()
        self.tokens: dict[str, Principal] = {}
        self.external_scheme = "http"
        self.version = "v2.15.2-080b0220"
        self._locked: dict[str, float] = {}

    def forward(self, project: str, url: str) -> None:
        """
        Let a real registry serve a project; the project and its endpoint are made where absent.
        """
        held = self.state.project(project)
        endpoint = self.state.endpoints[held.registry_id] if held and held.registry_id else None
        if endpoint is None:
            endpoint = self.state.add_endpoint(project, url)
            if held is None:
                self.state.add_project(project, endpoint)
        self.upstreams[endpoint.asks] = RealUpstream(url)

    def pull_fault(self, project: str) -> Fault | None:
        """
        Return what goes wrong when a project is pulled from.
        """
        return self.pull_faults.get(project) or self.project_faults.get(project)

    def upstream(self, endpoint: Endpoint) -> Upstream:
        """
        Return what an endpoint leads to.
        """
        return self.upstreams.setdefault(endpoint.asks, RealUpstream(endpoint.asks))

    def upstream_of(self, project: str) -> SimulatedUpstream:
        """
        Return a project's simulated upstream.
        """
        held = self.state.project(project)
        assert held is not None and held.registry_id is not None  # noqa: PT018, S101
        upstream = self.upstream(self.state.endpoints[held.registry_id])
        assert isinstance(upstream, SimulatedUpstream)  # noqa: S101
        return upstream

    async def check_upstreams(self) -> None:
        """
        Do what Harbor does every five minutes: mark every endpoint healthy or unhealthy.
        """
        for endpoint in self.state.endpoints.values():
            try:
                async with asyncio.timeout(self.black_hole_delay):
                    reached = await self.reaches(endpoint)
            except TimeoutError:
                reached = False
            endpoint.status = "healthy" if reached else "unhealthy"

    async def reaches(self, endpoint: Endpoint) -> bool:
        """
        Tell whether an endpoint's check succeeds; it takes for ever where the upstream is silent.
        """
        upstream = self.upstream(endpoint)
        if getattr(upstream, "self_signed", False) and not (
            endpoint.insecure or endpoint.ca_certificate
        ):
            return False
        return await upstream.healthy(endpoint.access_key, endpoint.access_secret)

    def robot(self, principal: Principal) -> Robot | None:
        """
        Return the robot that asks, if one does.
        """
        if principal.kind != "robot":
            return None
        prefix = self.state.robot_prefix
        robots = self.state.robots.values()
        return next((r for r in robots if f"{prefix}{r.bare_name}" == principal.name), None)

    def token_for(self, principal: Principal, repository: str) -> str:
        """
        Hand out a token; one of a robot is good for what the robot might do just now.

        As Harbor's do, it says in its middle part what it is good for.
        """
        if robot := self.robot(principal):
            projects = [project.name for project in self.state.projects.values()]
            pulls = (name for name in projects if robot.may(name, "repository", "pull"))
            principal = Principal(principal.name, principal.kind, frozenset(pulls))
        name = repository.partition("/")[0]
        project = self.state.project(name)
        public = project is not None and project.public
        may = public or principal.kind == "admin" or name in principal.pulls
        actions = ["pull"] if project is not None and may else []
        access = [{"type": "repository", "name": repository, "actions": actions}]
        claims = json.dumps({"access": access if repository else []}).encode()
        middle = base64.urlsafe_b64encode(claims).decode().rstrip("=")
        token = f"e30.{middle}.{secrets.token_urlsafe(32)}"
        self.tokens[token] = principal
        return token

    async def who_asks(self, authorization: str) -> Principal:
        """
        Tell who asks: wrong credentials are taken as none, and lock the name for a while.
        """
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self.tokens.get(value, Principal())
        if scheme.lower() != "basic":
            return Principal()
        try:
            name, _, password = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Principal()
        clock = asyncio.get_running_loop().time
        locked = self._locked.get(name, 0.0) > clock()
        principal = self._login(name, password)
        if principal is None or locked:
            if principal is None:
                self._locked[name] = clock() + self.login_delay
            await asyncio.sleep(self.login_delay)
            return Principal()
        return principal

    def _login(self, name: str, password: str) -> Principal | None:
        if name == ADMIN:
            right = secrets.compare_digest(password, self.state.admin_password)
            return Principal(name, "admin") if right else None
        if name in self.state.users:
            return Principal(name, "user") if password == self.state.users[name] else None
        robot = self.robot(Principal(name, "robot"))
        if robot is not None and robot.secret == password and robot.lets_in:
            return Principal(name, "robot")
        return None
