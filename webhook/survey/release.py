"""
The release that is installed in a cluster, and the config that it runs with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from webhook.config import Config, default_config, parse_config
from webhook.errors import ClusterError, ConfigError
from webhook.kube.api import Kube


__all__ = [
    "CONFIGURATIONS",
    "FoundConfig",
    "Release",
    "config_of_cluster",
    "find_release",
    "read_config",
]

CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_SUFFIX: Final = ".harbor-cache.io"
_CONFIG_KEY: Final = "config.yaml"


@dataclass(frozen=True, slots=True)
class Release:
    """
    What the chart installed.

    Attributes:
        namespace: where its objects are.
        name: what their names begin with; the Service and the ConfigMap are called so.
        configuration: its MutatingWebhookConfiguration.
    """

    namespace: str
    name: str
    configuration: Mapping[str, Any]


async def find_release(kube: Kube, namespace: str = "") -> Release | None:
    """
    Return the release, in *namespace* if it is given, that webhook configurations tell of, or None.

    Raises:
        ClusterError: if they can't be read.
    """
    for configuration in (await kube.get(CONFIGURATIONS)).get("items") or ():
        for webhook in configuration.get("webhooks") or ():
            service = (webhook.get("clientConfig") or {}).get("service") or {}
            ours = str(webhook.get("name", "")).endswith(_SUFFIX) and service
            if ours and namespace in ("", service["namespace"]):
                return Release(service["namespace"], service["name"], configuration)
    return None


@dataclass(frozen=True, slots=True)
class FoundConfig:
    """
    The config that a cluster is judged by.

    Attributes:
        config: it.
        source: where it is from, in a few words.
        placeholder: why the placeholder Harbor had to be taken, or an empty string.
    """

    config: Config
    source: str
    placeholder: str = ""


async def config_of_cluster(kube: Kube, directory: Path) -> FoundConfig:
    """
    Return the config of the installed release, or the defaults where there is none to be seen.

    Raises:
        ClusterError: if the API server can't be asked at all.
        ConfigError: if the release's config is none; see `read_config`.
    """
    try:
        release = await find_release(kube)
        if release is not None:
            config = await read_config(kube, release, directory)
            return FoundConfig(config, f"release {release.namespace}/{release.name}")
        why = "harbor-cache-webhook is not installed in this cluster"
    except ClusterError as error:
        if error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise
        why = f"the config of the release can't be read: {error}"
    return FoundConfig(default_config(), "placeholder", why)


async def read_config(kube: Kube, release: Release, directory: Path) -> Config:
    """
    Return the config that *release* runs with, from its ConfigMap, as it can be used from here.

    Harbor's authority, where the ConfigMap holds it, is written into *directory*.  Credentials
    are mounted from a Secret, which is not read: Harbor is asked without.

    Raises:
        ClusterError: if it can't be read.
        ConfigError: if it is none.
    """
    where = f"ConfigMap {release.namespace}/{release.name}"
    path = f"/api/v1/namespaces/{release.namespace}/configmaps/{release.name}"
    try:
        data = (await kube.get(path)).get("data") or {}
    except ClusterError as error:
        raise ClusterError(f"{where}: {error}", error.status) from error
    try:
        config = parse_config(data[_CONFIG_KEY], {})
    except KeyError as error:
        raise ConfigError(f"{where}: has no key {_CONFIG_KEY}") from error
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from error
    authority = config.harbor.ca_file
    if authority is not None and authority.name in data:
        text, authority = data[authority.name], directory / "harbor-ca.crt"
        authority.write_text(text, encoding="utf-8")
    harbor = config.harbor.model_copy(
        update={"ca_file": authority, "username_file": None, "password_file": None}
    )
    return config.model_copy(update={"harbor": harbor})
