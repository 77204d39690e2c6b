"""
What the config desires of Harbor, with the contents of the files that it names.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from webhook.config import Config, Registry
from webhook.config.provisioning import GarbageCollection, Oidc, Retention, Robot
from webhook.errors import ConfigError, HarborError
from webhook.harbor.client import Credentials, read_credentials


__all__ = [
    "Desired",
    "DesiredEndpoint",
    "DesiredOidc",
    "DesiredProject",
    "DesiredRobot",
    "read_desired",
]

_GIB: Final = 1 << 30
_UNLIMITED: Final = -1


@dataclass(frozen=True, slots=True)
class DesiredEndpoint:
    """
    A registry endpoint.
    """

    name: str
    type: str
    url: str
    insecure: bool = False
    ca_certificate: str = ""
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class DesiredProject:
    """
    A proxy project.
    """

    name: str
    endpoint: DesiredEndpoint
    public: bool = True
    quota: int = _UNLIMITED
    """Bytes; -1 for no limit."""
    limits: tuple[tuple[str, str], ...] = ()
    """Metadata keys and values that limit what is asked of the upstream; -1 for no limit."""
    nodes_may_pull: bool = True
    """Whether it is open to everyone, or Pods carry a pull secret."""


@dataclass(frozen=True, slots=True)
class DesiredRobot:
    """
    The robot account, and the projects that it pulls from.
    """

    settings: Robot
    projects: tuple[str, ...]

    @property
    def permissions(self) -> list[dict[str, Any]]:
        """
        Return what it may do: pull, and see the project that it pulls from.
        """
        access = [
            {"resource": "repository", "action": "pull"},
            {"resource": "project", "action": "read"},
        ]
        return [
            {"kind": "project", "namespace": project, "access": access}
            for project in sorted(self.projects)
        ]


@dataclass(frozen=True, slots=True)
class DesiredOidc:
    """
    The login through OpenID Connect.
    """

    values: tuple[tuple[str, str | bool], ...]
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Desired:
    """
    All that the config decides on.
    """

    host: str
    """Where images are pulled from: what a Docker client logs in to."""
    projects: tuple[DesiredProject, ...]
    retention: Retention | None = None
    garbage_collection: GarbageCollection | None = None
    robot: DesiredRobot | None = None
    oidc: DesiredOidc | None = None

    @property
    def endpoints(self) -> tuple[DesiredEndpoint, ...]:
        """
        Return the endpoints, each once.
        """
        return tuple(
            {project.endpoint.name: project.endpoint for project in self.projects}.values()
        )


def read_desired(config: Config) -> Desired:
    """
    Return what *config* desires, reading the files that it names.

    Raises:
        ConfigError: where a file can't be read, or two registries share an endpoint's name.
    """
    provisioning = config.provisioning
    quota = provisioning.quota_gib
    projects = tuple(
        DesiredProject(
            registry.project,
            _endpoint(registry),
            registry.is_public,
            quota * _GIB if quota > 0 else _UNLIMITED,
            _limits(registry),
            registry.is_public or bool(config.pull_secrets),
        )
        for registry in config.registries
    )
    _refuse_shared_names(projects)
    names = tuple(project.name for project in projects)
    return Desired(
        config.harbor.host,
        projects,
        provisioning.retention,
        provisioning.garbage_collection,
        DesiredRobot(provisioning.robot, names) if provisioning.robot else None,
        _oidc(provisioning.oidc) if provisioning.oidc else None,
    )


def _refuse_shared_names(projects: tuple[DesiredProject, ...]) -> None:
    endpoints: dict[str, DesiredEndpoint] = {}
    for project in projects:
        endpoint = project.endpoint
        if endpoints.setdefault(endpoint.name, endpoint) != endpoint:
            raise ConfigError(
                f"registries: two different upstreams have the name {endpoint.name!r};"
                " set upstream.name"
            )


def _endpoint(registry: Registry) -> DesiredEndpoint:
    upstream = registry.upstream
    where = f"registries: {registry.host}: upstream"
    credentials = None
    if upstream.username_file is not None and upstream.password_file is not None:
        try:
            credentials = read_credentials(upstream.username_file, upstream.password_file)
        except HarborError as error:
            raise ConfigError(f"{where}: {error}") from error
    return DesiredEndpoint(
        registry.endpoint_name,
        registry.endpoint_type,
        registry.endpoint_url.rstrip("/"),
        upstream.insecure,
        _read(upstream.ca_file, f"{where}.caFile") if upstream.ca_file else "",
        credentials,
    )


def _limits(registry: Registry) -> tuple[tuple[str, str], ...]:
    limits = {
        "max_upstream_conn": registry.max_upstream_connections,
        "proxy_speed_kb": registry.max_kilobytes_per_second,
    }
    # What the config no longer names is lifted in Harbor too: -1 is what it has without any.
    return tuple(
        (key, str(_UNLIMITED if value is None else value)) for key, value in limits.items()
    )


def _oidc(oidc: Oidc) -> DesiredOidc:
    values: dict[str, str | bool] = {
        "auth_mode": "oidc_auth",
        "oidc_name": oidc.name,
        "oidc_endpoint": oidc.endpoint,
        "oidc_client_id": oidc.client_id,
        "oidc_scope": ",".join(oidc.scopes),
        "oidc_groups_claim": oidc.groups_claim,
        "oidc_admin_group": oidc.admin_group,
        "oidc_user_claim": oidc.user_claim,
        "oidc_verify_cert": oidc.verify_certificate,
        "oidc_auto_onboard": oidc.auto_onboard,
    }
    secret = _read(oidc.client_secret_file, "provisioning.oidc.clientSecretFile").strip()
    return DesiredOidc(tuple(values.items()), secret)


def _read(path: Path, where: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigError(f"{where}: {path}: {reason}") from error
    if not text.strip():
        raise ConfigError(f"{where}: {path}: is empty")
    return text
