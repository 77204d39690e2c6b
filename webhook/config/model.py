"""
What may stand in the one file that feeds all processes and commands, as frozen values.

Unknown keys are errors that name their path: a typing mistake switches nothing off in silence.
"""

from functools import cached_property
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from webhook.config.base import ConfigPath, Duration, KubernetesName, Matching, Section
from webhook.config.exclusions import Owner, Placeholder, PodSelector
from webhook.config.hosts import check_alias, check_harbor_host, check_registry_host
from webhook.config.patterns import Canary, Exclude, Include
from webhook.config.provisioning import Provisioning
from webhook.config.vm import Vm
from webhook.image.reference import DOCKER_HUB, is_domain
from webhook.image.rules import Rule, Rules
from webhook.pod.decision import Policy
from webhook.pod.selector import Selector


__all__ = [
    "Config",
    "Duration",
    "Harbor",
    "Images",
    "Probe",
    "Recovery",
    "Registry",
    "Upstream",
]

DOCKER_HUB_URL: Final = "https://hub.docker.com"
"""
What Harbor's type docker-hub stands for; it asks that one whatever the endpoint's URL says.
"""


def _host_in(text: str) -> str:
    """
    Return what could be the host in a *text* that is no URL; never what could be a password.
    """
    host = text.rpartition("://")[2].partition("/")[0]
    return host if is_domain(host) and "." in host else "harbor.example.com"


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"must be a URL such as https://{_host_in(url)}")
    if "@" in parts.netloc:
        raise ValueError("must hold no user name or password; credentials come from files")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be a host and an optional port, with no path behind it")
    _ = parts.port  # Raises ValueError where it is no number.
    if not is_domain(parts.netloc):
        raise ValueError(f"{parts.netloc!r} can't stand in front of an image reference")
    return url.rstrip("/")


def _check_image_url(url: str) -> str:
    url = _check_url(url)
    check_harbor_host(urlsplit(url).netloc)
    return url


def _check_upstream_url(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        # Harbor would put http:// in front, and show it under that URL ever after.
        host = url.rpartition("://")[2] or "registry.example.com"
        raise ValueError(f"{url!r} must begin with https:// or http://, such as https://{host}")
    return url


_A_URL: Final = WithJsonSchema({"type": "string", "pattern": r"^https?://[^/?#@\s]+/?$"})
_A_HOST: Final = WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9.:\[\]-]+$"})
Url = Annotated[str, AfterValidator(_check_url), _A_URL]
ImageUrl = Annotated[str, AfterValidator(_check_image_url), _A_URL]
RegistryHost = Annotated[str, AfterValidator(check_registry_host), _A_HOST]
Alias = Annotated[str, AfterValidator(check_alias), _A_HOST]
UpstreamUrl = Annotated[
    str,
    AfterValidator(_check_upstream_url),
    WithJsonSchema({"type": "string", "pattern": "^https?://.+"}),
]

# Harbor's own rule for project names, measured: anything else is answered with 400.
ProjectName = Annotated[
    str,
    Matching(
        r"[a-z0-9]+(?:[._-][a-z0-9]+)*",
        "lower-case letters and digits, with ., _ or - between them",
    ),
]


class Harbor(Section):
    """
    Where Harbor is, as the nodes and as the webhook see it.
    """

    url: ImageUrl
    """What images are rewritten to: its host and port."""
    api_url: Url | None = None
    """Where probes and provisioning go, if that is somewhere else."""
    ca_file: ConfigPath | None = None
    """A PEM bundle that signs Harbor's certificate; the system's authorities if absent."""
    former_urls: tuple[ImageUrl, ...] = ()
    """Where Harbor was before; Pods that still point there are recognised."""
    username_file: ConfigPath | None = None
    """A file with the name of a pull-only robot account, for probes of private projects."""
    password_file: ConfigPath | None = None
    """A file with that account's secret."""

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        if (self.username_file is None) != (self.password_file is None):
            raise ValueError("usernameFile and passwordFile go together")
        return self

    @property
    def host(self) -> str:
        """
        Return the host[:port] that images are rewritten to.
        """
        return urlsplit(self.url).netloc

    @property
    def base_url(self) -> str:
        """
        Return the URL that probes and provisioning talk to, without a slash at the end.
        """
        return self.api_url or self.url


class Upstream(Section):
    """
    The registry endpoint behind a proxy project, as Harbor names it.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Harbor's name for the endpoint; the registry's host if absent (docker_hub for docker.io)."""
    type: str | None = None
    """Harbor's adapter type: docker-registry if absent, docker-hub for docker.io."""
    url: UpstreamUrl | None = None
    """Where Harbor finds it; https:// and the registry's host if absent."""
    username_file: ConfigPath | None = None
    """A file with the account that Harbor logs in with, if it shall."""
    password_file: ConfigPath | None = None
    """A file with its password or access token."""
    insecure: bool = False
    """Whether Harbor takes any certificate of the upstream."""
    ca_file: ConfigPath | None = None
    """A PEM bundle that signs the upstream's certificate."""

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        if (self.username_file is None) != (self.password_file is None):
            raise ValueError("usernameFile and passwordFile go together")
        return self


class Registry(Section):
    """
    One registry, and the proxy project that caches it.
    """

    host: RegistryHost
    project: ProjectName
    aliases: tuple[Alias, ...] = ()
    include: Annotated[tuple[Include, ...], Field(min_length=1)] = ("*",)
    """Patterns of repositories that are rewritten; ``*`` stands for any characters."""
    exclude: tuple[Exclude, ...] = ()
    """Patterns of repositories that are left alone, stronger than ``include``."""
    when_upstream_down: Literal["rewrite", "keep"] = "rewrite"
    """What to do while Harbor reports this upstream as unhealthy."""
    canary: Canary | None = None
    """A repository and tag, such as ``library/busybox:1``, whose manifest is asked for."""
    upstream: Upstream = Upstream()
    public: bool | None = None
    """Whether everyone may pull: yes if absent, and no where the upstream has credentials."""
    max_upstream_connections: Annotated[int, Field(ge=1)] | None = None
    """How many connections Harbor opens to the upstream for one image; unlimited if absent."""
    max_kilobytes_per_second: Annotated[int, Field(ge=1)] | None = None
    """How fast Harbor reads one image from the upstream; unlimited if absent."""

    @field_validator("aliases")
    @classmethod
    def _drop_own_name(cls, aliases: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # What was `index.docker.io` is no other name of `docker.io`: it is that one.
        return tuple(a for a in aliases if not a == DOCKER_HUB == info.data.get("host"))

    @property
    def endpoint_name(self) -> str:
        """
        Return Harbor's name for the endpoint of the upstream.
        """
        return self.upstream.name or ("docker_hub" if self.host == DOCKER_HUB else self.host)

    @property
    def endpoint_type(self) -> str:
        """
        Return the type of that endpoint.
        """
        default = "docker-hub" if self.host == DOCKER_HUB else "docker-registry"
        return self.upstream.type or default

    @property
    def endpoint_url(self) -> str:
        """
        Return the URL of that endpoint.
        """
        hub = self.endpoint_type == "docker-hub"
        return self.upstream.url or (DOCKER_HUB_URL if hub else f"https://{self.host}")

    @property
    def is_public(self) -> bool:
        """
        Tell whether everyone may pull from the project.
        """
        return self.upstream.username_file is None if self.public is None else self.public


class Probe(Section):
    """
    How often Harbor is looked at, and how quickly we change our mind.
    """

    interval: Annotated[Duration, Field(gt=0)] = 5.0
    timeout: Annotated[Duration, Field(gt=0)] = 2.0
    failure_threshold: Annotated[int, Field(ge=1)] = 2
    success_threshold: Annotated[int, Field(ge=1)] = 2
    max_age: Annotated[Duration, Field(gt=0)] = 30.0
    canary_interval: Annotated[Duration, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _check_ages(self) -> Self:
        if self.max_age <= self.interval + self.timeout:
            raise ValueError("maxAge must be longer than interval and timeout together")
        return self


class Images(Section):
    """
    Which images are rewritten beyond those of containers and init containers.
    """

    volumes: bool = False
    ephemeral_containers: bool = False


class Recovery(Section):
    """
    When the controller moves a Pod that waits for its pull to the source that works.
    """

    enabled: bool = True
    after_unavailable: Annotated[Duration, Field(ge=0)] = 30.0
    restore_after: Annotated[Duration, Field(ge=0)] = 30.0
    rescue: bool = True
    """Whether Pods that wait for their upstream are moved to Harbor."""
    rescue_after: Annotated[Duration, Field(ge=0)] = 30.0
    max_patches_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    quarantine_for: Annotated[Duration, Field(gt=0)] = 86400.0
    quarantine_max: Annotated[int, Field(ge=0)] = 1000


_DOCKER_HUB: Final = Registry.model_validate(
    {
        "host": "docker.io",
        "project": "proxy.docker.io",
        "aliases": ["registry-1.docker.io", "registry.hub.docker.com"],
    }
)
_DEFAULT_REGISTRIES: Final = (  # The same stand in the chart's `_fence.tpl`.
    _DOCKER_HUB,
    Registry(host="gcr.io", project="proxy.gcr.io"),
    Registry(host="k8s.gcr.io", project="proxy.k8s.gcr.io"),
    Registry(host="quay.io", project="proxy.quay.io"),
)


class Config(Section):
    """
    The whole config file.
    """

    api_version: Literal["harbor-cache.io/v1"]
    kind: Literal["Config"]
    harbor: Harbor
    registries: tuple[Registry, ...] = _DEFAULT_REGISTRIES
    probe: Probe = Probe()
    images: Images = Images()
    mode: Literal["enforce", "audit"] = "enforce"
    paused: bool = False
    pull_secrets: tuple[KubernetesName, ...] = ()
    exclude_owners: tuple[Owner, ...] = (
        "postgresql.cnpg.io",
        "operators.coreos.com",
        "kubevirt.io",
        "workloads.kubeblocks.io",
        "Service",
    )
    """Owners whose Pods are left alone: an API group, ``Kind.group``, or a ``Kind`` of core."""
    exclude_pods: tuple[PodSelector, ...] = ()
    """Label selectors of Pods that are left alone."""
    placeholders: tuple[Placeholder, ...] = ("auto",)
    """Images that an injector fills in later; left alone until it has."""
    recovery: Recovery = Recovery()
    provisioning: Provisioning = Provisioning()
    vm: Vm = Vm()
    _notes: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _check_registries(self) -> Self:
        if not self.registries:
            raise ValueError("registries: is empty; leave it out for the four default ones")
        _refuse_twice("host", [h for r in self.registries for h in (r.host, *r.aliases)])
        _refuse_twice("project", [r.project for r in self.registries])
        for registry in self.registries:
            if {registry.host, *registry.aliases} & self.rules.harbor_hosts:
                raise ValueError(
                    f"registries: {registry.host!r} is Harbor's own host, whose images are left"
                    " alone; leave it out"
                )
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """
        Return what is allowed and yet unwise, one sentence each.
        """
        plain = "harbor.url: http:// lets anyone on the network change what the nodes pull"
        unwise = (plain,) if self.harbor.url.startswith("http://") else ()
        return unwise + self._notes

    def with_notes(self, notes: tuple[str, ...]) -> Self:
        """
        Return this config with more `warnings`, of what stood beside the file.
        """
        self._notes = notes
        return self

    @cached_property
    def rules(self) -> Rules:
        """
        Return the rewriting rules that this config describes.
        """
        return Rules(
            harbor_host=self.harbor.host,
            former_hosts=tuple(urlsplit(url).netloc for url in self.harbor.former_urls),
            rules=tuple(
                Rule(
                    host=registry.host,
                    project=registry.project,
                    aliases=registry.aliases,
                    include=registry.include,
                    exclude=registry.exclude,
                    when_upstream_down=registry.when_upstream_down,
                )
                for registry in self.registries
            ),
        )

    @cached_property
    def policy(self) -> Policy:
        """
        Return what of this config decides about Pods.
        """
        return Policy(
            rules=self.rules,
            mode=self.mode,
            paused=self.paused,
            volumes=self.images.volumes,
            ephemeral_containers=self.images.ephemeral_containers,
            exclude_owners=frozenset(self.exclude_owners),
            exclude_pods=tuple(Selector.parse(text) for text in self.exclude_pods),
            placeholders=frozenset(self.placeholders),
            pull_secrets=self.pull_secrets,
        )


def _refuse_twice(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"registries: the {what} {name!r} stands there twice")
        seen.add(name)
