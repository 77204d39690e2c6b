"""
What goes on the nodes, and on other machines that pull.
"""

import base64

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from webhook.config import Config
from webhook.errors import ConfigError, RenderError
from webhook.render.files import File
from webhook.render.templating import common, template


__all__ = ["containerd", "docker", "nodes"]

_NODE_DIRECTORY: Final = "/etc/containerd/certs.d"
_DOCKER_HUB: Final = "docker.io"
_SERVERS: Final = {_DOCKER_HUB: "registry-1.docker.io"}
# Outside of the folders of k3s and RKE2, so that one file is right for both.
_RANCHER_CA: Final = "/etc/rancher/harbor-cache-ca.crt"
# A pull that hangs holds one of them for a minute; few would soon be as bad as one.
_PARALLEL_PULLS: Final = 20
# Longer than Harbor's front waits, so that the nodes get its answer.
_PROGRESS_TIMEOUT: Final = "2m"


@dataclass(frozen=True, slots=True)
class _Mirror:
    """
    A registry that nodes ask Harbor for, and where they go when Harbor fails.
    """

    registry: str
    project: str
    server: str

    @property
    def folder(self) -> str:
        return _host_folder(self.registry)


def containerd(config: Config, folder: Path) -> Iterator[File]:
    """
    Yield `hosts.toml` for nodes: trust in Harbor's CA, mirrors.
    """
    values = common(config)
    authority = _authority(config, folder)
    trust_folder = _host_folder(config.harbor.host)
    values |= {
        "directory": _NODE_DIRECTORY,
        "folder": trust_folder,
        "trust_folder": trust_folder,
        "ca": authority is not None,
    }
    mirrors = _mirrors(config)
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


def docker(config: Config, folder: Path) -> Iterator[File]:
    """
    Yield what makes Docker trust Harbor's CA.
    """
    values = common(config)
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


def nodes(config: Config, folder: Path) -> Iterator[File]:
    """
    Yield the same for k3s and RKE2, Talos and CRI-O, and the kubelet's settings for all of them.
    """
    authority = _authority(config, folder)
    values = common(config) | {
        "harbor_host": config.harbor.host,
        "mirrors": _mirrors(config),
        "ca": authority,
        "ca_base64": base64.b64encode((authority or "").encode()).decode(),
        "rancher_ca": _RANCHER_CA,
        "parallel_pulls": _PARALLEL_PULLS,
        "progress_timeout": _PROGRESS_TIMEOUT,
    }
    for name in (
        "README.md",
        "kubelet/90-harbor-cache.conf",
        "rancher/registries.yaml",
        "talos/patch.yaml",
        "crio/registries.conf.d/50-harbor-cache.conf",
        "crio/crio.conf.d/50-harbor-cache.conf",
    ):
        yield File(name, template(f"nodes/{name}", **values))
    if authority is not None:
        yield File(f"rancher/{Path(_RANCHER_CA).name}", authority)
        yield File(f"crio/certs.d/{config.harbor.host}/ca.crt", authority)


def _mirrors(config: Config) -> list[_Mirror]:
    return [
        # Docker Hub's name and the host that serves its registry differ.
        _Mirror(host, registry.project, f"https://{_SERVERS.get(host, host)}")
        for registry in config.registries
        for host in (registry.host, *registry.aliases)
    ]


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
