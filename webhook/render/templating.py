"""
Templates, and what all of them are given.
"""

from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

import jinja2

from webhook.config import Config
from webhook.errors import ConfigError


__all__ = ["common", "public_host", "template"]

_HTTPS: Final = 443
# How long the front waits for Harbor to take a connection, and to begin its answer: less than a
# minute together, and more than the 30 s that Harbor gives a slow upstream.
_CONNECT_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 45

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


def common(config: Config) -> dict[str, Any]:
    """
    Return the values that templates of all kinds use.

    Raises:
        ConfigError: Harbor's URL is plain HTTP.
    """
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
