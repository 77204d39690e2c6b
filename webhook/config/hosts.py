"""
Hosts as they stand in front of an image: those of registries, and Harbor's own.

The grammar of references reads the first component of an image as a host only if it has a dot or
a colon in it, or is ``localhost``; anything else is a part of Docker Hub's repository.
"""

from typing import Final

from webhook.image.reference import DOCKER_HUB, LEGACY_DOCKER_HUB, is_domain


__all__ = ["check_alias", "check_harbor_host", "check_registry_host"]

# Docker Hub's own names that people take for the registry's.
_OTHER_NAMES_OF_DOCKER_HUB: Final = {
    "docker.com",
    "hub.docker.com",
    "registry-1.docker.io",
    "registry.docker.io",
    "registry.hub.docker.com",
    "www.docker.com",
}


def check_alias(host: str) -> str:
    """
    Return another name of a registry, under which images may be named.

    Raises:
        ValueError: if no image can have *host* in front.
    """
    if not is_domain(host):
        raise ValueError(
            f"{host!r} is no registry host; write host or host:port, without https:// and path"
        )
    if _is_read_as_path(host):
        raise ValueError(
            f"{host!r} is no registry host: an image {host}/app is Docker Hub's; write a host with"
            f" a dot or a port, such as {host}.io or {host}:443"
        )
    # The grammar of references knows this one name as another one's.
    return DOCKER_HUB if host == LEGACY_DOCKER_HUB else host


def check_registry_host(host: str) -> str:
    """
    Return the main name of a registry.

    Raises:
        ValueError: if images are named otherwise.
    """
    host = check_alias(host)
    if host.lower() != host:
        raise ValueError(
            f"{host!r} is matched exactly, and images have it in lower case; write {host.lower()}"
        )
    if host in _OTHER_NAMES_OF_DOCKER_HUB:
        raise ValueError(
            f"{host!r} is Docker Hub, whose images are docker.io's; write docker.io, and {host}"
            " under aliases"
        )
    return host


def check_harbor_host(host: str) -> None:
    """
    Check Harbor's host[:port], as rewritten images have it in front.

    Raises:
        ValueError: if the grammar reads it as a part of the repository.
    """
    if _is_read_as_path(host):
        raise ValueError(
            f"{host!r} can't stand in front of an image: {host}/project/app is Docker Hub's; write"
            f" a host with a dot or a port, such as {host}.example.com or {host}:443"
        )


def _is_read_as_path(host: str) -> bool:
    return not ("." in host or ":" in host or host == "localhost" or host.lower() != host)
