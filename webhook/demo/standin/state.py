"""
What the stand-in holds in memory, and how Harbor shows it.
"""

import time

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from webhook.demo.standin.configuration import default_configuration
from webhook.text import timestamp


__all__ = ["ADMIN", "ADMIN_PASSWORD", "Endpoint", "Project", "Robot", "State", "article_state"]

ADMIN: Final = "admin"
ADMIN_PASSWORD: Final = "Stand-in-4dmin"  # noqa: S105 - made up, and good for the stand-in alone.

DOCKER_HUB_URL: Final = "https://hub.docker.com"
"""
The type docker-hub asks this one whatever its ``url`` says.
"""

_NO_TIME: Final = "0001-01-01T00:00:00.000Z"
ROBOT_PREFIX: Final = "robot$"
NEVER: Final = -1
_DAY: Final = 86400


def now() -> str:
    """
    Return the time as Harbor writes it.
    """
    return timestamp(datetime.now(UTC), "milliseconds")


@dataclass(slots=True)
class Endpoint:
    """
    A registry endpoint.
    """

    id: int
    name: str
    type: str
    url: str
    insecure: bool = False
    description: str = ""
    access_key: str = ""
    access_secret: str = ""
    ca_certificate: str = ""
    status: str = "healthy"
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)

    @property
    def asks(self) -> str:
        """
        Return the URL that Harbor really asks.
        """
        return DOCKER_HUB_URL if self.type == "docker-hub" else self.url

    def shown(self, *, credential: bool) -> dict[str, Any]:
        """
        Return what the API shows; in a project's summary without the credential.
        """
        shown: dict[str, Any] = {
            "creation_time": self.created,
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "type": self.type,
            "update_time": self.updated,
            "url": self.url,
        }
        if self.insecure:
            shown["insecure"] = True
        if self.description:
            shown["description"] = self.description
        if self.ca_certificate and credential:
            shown["ca_certificate"] = self.ca_certificate
        if credential:
            shown["credential"] = (
                {"type": "basic", "access_key": self.access_key, "access_secret": "*****"}
                if self.access_key
                else {}
            )
        return shown


@dataclass(slots=True)
class Project:
    """
    A project; a proxy project where it has an endpoint.
    """

    id: int
    name: str
    metadata: dict[str, str]
    registry_id: int | None = None
    quota_id: int = 0
    storage: int = -1
    repositories: set[str] = field(default_factory=set)
    immutable: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rules about tags that stay."""
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """Cached manifests and their media types, by repository@digest."""
    tags: dict[str, str] = field(default_factory=dict)
    """Digests, by repository:tag."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)

    @property
    def public(self) -> bool:
        """
        Tell whether everyone may pull.
        """
        return self.metadata.get("public") == "true"

    def shown(self, role: int | None) -> dict[str, Any]:
        """
        Return what the API shows to someone with the *role*; 1 is the project's administrator.
        """
        shown: dict[str, Any] = {
            "creation_time": self.created,
            "current_user_role_ids": [role] if role else None,
            "cve_allowlist": {
                "creation_time": _NO_TIME,
                "id": self.quota_id,  # Numbers of its own, made when quotas are.
                "items": [],
                "project_id": self.id,
                "update_time": _NO_TIME,
            },
            "metadata": dict(self.metadata),
            "name": self.name,
            "owner_id": 1,
            "owner_name": ADMIN,
            "project_id": self.id,
            "repo_count": len(self.repositories),
            "update_time": self.updated,
        }
        if role:
            shown["current_user_role_id"] = role
        if self.registry_id is not None:
            shown["registry_id"] = self.registry_id
        return shown


@dataclass(slots=True)
class Robot:
    """
    A robot account; its name holds the prefix ``robot$``.
    """

    id: int
    name: str
    level: str
    secret: str
    duration: int
    permissions: list[dict[str, Any]]
    description: str = ""
    disable: bool = False
    project_id: int = 0
    """The project that it belongs to, where its level is ``project``."""
    expires_at: int = NEVER
    """Seconds since 1970."""
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)

    def __post_init__(self) -> None:
        self.expire_after(self.duration)

    @property
    def bare_name(self) -> str:
        """
        Return the name without its prefix, which is a setting and may be another.
        """
        return self.name.removeprefix(ROBOT_PREFIX)

    @property
    def lets_in(self) -> bool:
        """
        Tell whether the right secret logs in.
        """
        expired = self.expires_at != NEVER and self.expires_at <= time.time()
        return not self.disable and not expired

    def expire_after(self, days: int) -> None:
        """
        Set the lifetime, counted from when the account was made; -1 for ever.
        """
        self.duration = days
        created = datetime.fromisoformat(self.created).timestamp()
        self.expires_at = NEVER if days == NEVER else int(created) + days * _DAY

    def may(self, project: str, resource: str, action: str) -> bool:
        """
        Tell whether the robot was given an action in a project.
        """
        wanted = {"resource": resource, "action": action}
        return any(
            permission["namespace"] in (project, "*")
            and any(wanted.items() <= access.items() for access in permission["access"])
            for permission in self.permissions
            if permission["kind"] == "project"
        )

    def may_system(self, resource: str, action: str) -> bool:
        """
        Tell whether the robot was given an action on the system.
        """
        wanted = {"resource": resource, "action": action}
        return any(
            any(wanted.items() <= access.items() for access in permission["access"])
            for permission in self.permissions
            if permission["kind"] == "system"
        )

    def shown(self, prefix: str) -> dict[str, Any]:
        """
        Return what the API shows: never the secret.
        """
        return {
            "creation_time": self.created,
            "creator_ref": 1,
            "creator_type": "local",
            "description": self.description,
            "disable": self.disable,
            "duration": self.duration,
            "editable": True,
            "expires_at": self.expires_at,
            "id": self.id,
            "level": self.level,
            "name": f"{prefix}{self.bare_name}",
            "permissions": self.permissions,
            "update_time": self.updated,
        }


@dataclass(slots=True)
class State:
    """
    All of Harbor's database that matters here.
    """

    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    projects: dict[int, Project] = field(default_factory=dict)
    robots: dict[int, Robot] = field(default_factory=dict)
    retentions: dict[int, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    """Names and passwords of ordinary users."""
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What else is known of those that were made by the API."""
    labels: dict[int, dict[str, Any]] = field(default_factory=dict)
    audit: list[dict[str, Any]] = field(default_factory=list)
    """What was done, the last first."""
    admin_password: str = ADMIN_PASSWORD
    configuration: dict[str, Any] = field(default_factory=default_configuration)
    oidc_client_secret: str = ""
    gc_schedule: dict[str, Any] | None = None
    ids: dict[str, int] = field(default_factory=dict)

    @property
    def robot_prefix(self) -> str:
        """
        Return what every robot account's name begins with.
        """
        return str(self.configuration["robot_name_prefix"])

    def next_id(self, kind: str) -> int:
        """
        Return the next number of its kind; numbers are never used again.
        """
        self.ids[kind] = self.ids.get(kind, 0) + 1
        return self.ids[kind]

    def endpoint(self, name: str) -> Endpoint | None:
        """
        Return an endpoint by name.
        """
        return next((e for e in self.endpoints.values() if e.name == name), None)

    def project(self, name: str) -> Project | None:
        """
        Return a project by name.
        """
        return next((p for p in self.projects.values() if p.name == name), None)

    def add_endpoint(self, name: str, url: str, kind: str = "docker-registry") -> Endpoint:
        """
        Put an endpoint in place, unchecked.
        """
        endpoint = Endpoint(self.next_id("endpoint"), name, kind, url)
        self.endpoints[endpoint.id] = endpoint
        return endpoint

    def add_project(
        self, name: str, endpoint: Endpoint | None, metadata: dict[str, str] | None = None
    ) -> Project:
        """
        Put a project in place, with the retention policy that Harbor gives to proxy projects.
        """
        project = Project(
            self.next_id("project"),
            name,
            metadata or {"public": "true"},
            endpoint.id if endpoint else None,
            quota_id=self.next_id("quota"),
        )
        if endpoint:
            policy = self.next_id("retention")
            self.retentions[policy] = _retention(policy, project.id)
            project.metadata["retention_id"] = str(policy)
        self.projects[project.id] = project
        return project


def _retention(policy: int, project: int) -> dict[str, Any]:
    everything = {"kind": "doublestar", "pattern": "**"}
    return {
        "algorithm": "or",
        "id": policy,
        "rules": [
            {
                "action": "retain",
                "id": 1,
                "params": {"nDaysSinceLastPull": 7},
                "priority": 1,
                "scope_selectors": {"repository": [{"decoration": "repoMatches", **everything}]},
                "tag_selectors": [{"decoration": "matches", **everything}],
                "template": "nDaysSinceLastPull",
            }
        ],
        "scope": {"level": "project", "ref": project},
        "trigger": {
            "kind": "Schedule",
            "settings": {
                "cron": "0 0 0 * * *",
                "next_scheduled_time": "2030-01-01T00:00:00.000Z",
            },
        },
    }


def article_state() -> State:
    """
    Return a Harbor with four registries and their public proxy projects, and Harbor's own library.
    """
    state = State()
    state.add_project("library", None)
    hub = state.add_endpoint("docker_hub", DOCKER_HUB_URL, "docker-hub")
    state.add_project("proxy.docker.io", hub)
    for host in ("gcr.io", "k8s.gcr.io", "quay.io"):
        state.add_project(f"proxy.{host}", state.add_endpoint(host, f"https://{host}"))
    return state
