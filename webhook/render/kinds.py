"""
Which files each kind of rendering makes.
"""

import base64
import secrets

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jinja2

from webhook.config import Config, Registry
from webhook.errors import ConfigError, RenderError
from webhook.render.files import File


__all__ = ["KINDS", "files", "public_host", "template"]

# The form of harbor.yml; Harbor's `prepare` raises it with each minor version.
_FORM_VERSION: Final = "2.15.0"
_HTTPS: Final = 443
# How long the front waits for Harbor to take a connection, and to begin its answer: less than a
# minute together, and more than the 30 s that Harbor gives a slow upstream.
_CONNECT_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 45
_NODE_DIRECTORY: Final = "/etc/containerd/certs.d"
_DOCKER_HUB: Final = "docker.io"
# 160 bits; base64 has no character that YAML, a shell or a URL form would change in quotes.
_SECRET_BYTES: Final = 20

_templates: Final = jinja2.Environment(
    # Not jinja's usual delimiters: playbooks have those of their own, shell and TOML brackets.
    variable_start_string="<{",
    variable_end_string="}>",
    block_start_string="<%",
    block_end_string="%>",
    comment_start_string="<#",
    comment_end_string="#>",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701  # These are no web pages.
)


@dataclass(frozen=True, slots=True)
class _Mirror:
    """
    A registry that containerd asks Harbor for, and where it goes when Harbor fails.
    """

    registry: str
    project: str
    server: str

    @property
    def folder(self) -> str:
        return _host_folder(self.registry)


def template(name: str, **values: Any) -> str:
    """
    Return the template *name* with *values* filled in.

    Names that begin with a dot are stored without it, so that they are of no effect here.
    """
    parts = (part.removeprefix(".") for part in name.split("/"))
    source = resources.files(__package__).joinpath("templates", *parts)
    return _templates.from_string(source.read_text(encoding="utf-8")).render(**values)


def public_host(config: Config) -> tuple[str, int]:
    """
    Return the name and the port that clients reach Harbor by.

    Raises:
        ConfigError: Harbor's URL is plain HTTP.
    """
    parts = urlsplit(config.harbor.url)
    if parts.scheme != "https" or parts.hostname is None:
        raise ConfigError(
            f"harbor.url: is {config.harbor.url}, but what is rendered serves https; nodes refuse"
            " plain HTTP unless each is told otherwise"
        )
    return parts.hostname, parts.port or _HTTPS


def files(kind: str, config: Config, folder: Path = Path()) -> tuple[File, ...]:
    """
    Return the files of *kind*, one of `KINDS`; relative paths in *config* count from *folder*.

    Raises:
        ConfigError: the config lacks what this kind needs.
        RenderError: a file that the config names can't be read.
    """
    return tuple(_MAKERS[kind](config, folder))


def _common(config: Config) -> dict[str, Any]:
    host, port = public_host(config)
    return {
        "url": config.harbor.url,
        "host": host,
        "port": port,
        "vm": config.vm,
        "traefik": config.vm.front == "traefik",
        "connect_seconds": _CONNECT_SECONDS,
        "answer_seconds": _ANSWER_SECONDS,
    }


def _harbor(config: Config, _folder: Path) -> Iterator[File]:
    values = _common(config) | {"form_version": _FORM_VERSION}
    for name in (
        "harbor.yml.tmpl",
        "harbor.service",
        "playbook.yml",
        "inventory.example.yml",
        ".gitignore",
        "README.md",
    ):
        yield File(name, template(f"harbor/{name}", **values))
    yield File(
        "fill-passwords.sh", template("harbor/fill-passwords.sh", **values), executable=True
    )


def _traefik(config: Config, _folder: Path) -> Iterator[File]:
    if config.vm.front != "traefik":
        raise ConfigError(f"vm.front: is {config.vm.front}, so there is no Traefik to render for")
    values = _common(config)
    for name in ("docker-compose.override.yml", ".env.example", ".envrc", ".gitignore"):
        yield File(name, template(f"traefik/{name}", **values))
    variables = "".join(f"{name}=\n" for name in config.vm.acme.variables)
    yield File(".env", variables, private=True, kept=True)


def _dex(config: Config, _folder: Path) -> Iterator[File]:
    oidc = config.provisioning.oidc
    if oidc is None:
        raise ConfigError("provisioning.oidc: is missing; it says where dex is")
    values = _common(config) | {"oidc": oidc}
    for name in ("values.yaml", "helmfile.yaml", "README.md", ".gitignore"):
        yield File(name, template(f"dex/{name}", **values))
    yield File(
        "create-client-secret.sh",
        template("dex/create-client-secret.sh", **values),
        executable=True,
    )
    # No line break at the end: kubectl would make it a part of the secret.
    secret = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode("ascii")
    yield File("client-secret", secret, private=True, kept=True)


def _containerd(config: Config, folder: Path) -> Iterator[File]:
    values = _common(config)
    authority = _authority(config, folder)
    trust_folder = _host_folder(config.harbor.host)
    values |= {
        "directory": _NODE_DIRECTORY,
        "folder": trust_folder,
        "trust_folder": trust_folder,
        "ca": authority is not None,
    }
    mirrors = [mirror for registry in config.registries for mirror in _mirrors(registry)]
    yield File("README.md", template("containerd/README.md", **values, mirrors=mirrors))
    if authority is not None:
        yield File(
            f"certs.d/{trust_folder}/hosts.toml", template("containerd/trust.toml", **values)
        )
        yield File(f"certs.d/{trust_folder}/ca.crt", authority)
    for mirror in mirrors:
        text = template(
            "containerd/mirror.toml",
            **values,
            registry=mirror.registry,
            project=mirror.project,
            server=mirror.server,
        )
        yield File(f"certs.d/{mirror.folder}/hosts.toml", text)


def _docker(config: Config, folder: Path) -> Iterator[File]:
    values = _common(config)
    authority = _authority(config, folder)
    project = next((r.project for r in config.registries if r.host == _DOCKER_HUB), "PROJECT")
    yield File(
        "README.md",
        template(
            "docker/README.md",
            **values | {"host": config.harbor.host},
            ca=authority is not None,
            registries=config.registries,
            docker_project=project,
        ),
    )
    if authority is not None:
        # Docker wants the port as it stands in image names.
        yield File(f"certs.d/{config.harbor.host}/ca.crt", authority)


def _mirrors(registry: Registry) -> Iterator[_Mirror]:
    for host in (registry.host, *registry.aliases):
        # Docker Hub's name and the host that serves its registry differ.
        server = "registry-1.docker.io" if host == _DOCKER_HUB else host
        yield _Mirror(host, registry.project, f"https://{server}")


def _authority(config: Config, folder: Path) -> str | None:
    if config.vm.ca_file is None:
        if config.vm.front == "self-signed":
            raise ConfigError(
                "vm.caFile: is missing; let it name the ca.crt that `harbor-cache render certs`"
                " makes"
            )
        return None
    path = folder / config.vm.ca_file
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no PEM file"
        raise RenderError(f"vm.caFile: {path}: {reason}") from error


def _host_folder(registry: str) -> str:
    """
    Return the folder in which containerd looks for *registry*: a colon is not used there.
    """
    host, colon, port = registry.rpartition(":")
    return f"{host}_{port}_" if colon else registry


_MAKERS: Final[Mapping[str, Callable[[Config, Path], Iterator[File]]]] = {
    "harbor": _harbor,
    "traefik": _traefik,
    "dex": _dex,
    "containerd": _containerd,
    "docker": _docker,
}

KINDS: Final = tuple(_MAKERS)
