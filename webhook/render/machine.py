"""
What goes on Harbor's machine, and to the dex that people log in by.
"""

import base64
import secrets

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from webhook.config import Config
from webhook.errors import ConfigError
from webhook.render.files import File
from webhook.render.templating import common, template


__all__ = ["dex", "harbor", "traefik"]

# The form of harbor.yml; Harbor's `prepare` raises it with each minor version.
_FORM_VERSION: Final = "2.15.0"
# 160 bits; base64 has no character that YAML, a shell or a URL form would change in quotes.
_SECRET_BYTES: Final = 20


def harbor(config: Config, _folder: Path) -> Iterator[File]:
    """
    Yield Harbor's own files: configuration, passwords, unit, playbook.
    """
    values = common(config) | {"form_version": _FORM_VERSION}
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


def traefik(config: Config, _folder: Path) -> Iterator[File]:
    """
    Yield what puts Traefik in front of Harbor.
    """
    if config.vm.front != "traefik":
        raise ConfigError(f"vm.front: is {config.vm.front}, so there is no Traefik to render for")
    values = common(config)
    for name in ("docker-compose.override.yml", ".env.example", ".envrc", ".gitignore"):
        yield File(name, template(f"traefik/{name}", **values))
    variables = "".join(f"{name}=\n" for name in config.vm.acme.variables)
    yield File(".env", variables, private=True, kept=True)


def dex(config: Config, _folder: Path) -> Iterator[File]:
    """
    Yield what makes Harbor a client of dex.
    """
    oidc = config.provisioning.oidc
    if oidc is None:
        raise ConfigError("provisioning.oidc: is missing; it says where dex is")
    values = common(config) | {"oidc": oidc}
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
