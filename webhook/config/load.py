"""
The config file, read and checked.

Every scalar outside lists can be overridden by an environment variable: its path in upper case
with underscores, such as ``HARBOR_CACHE_PROBE_MAX_AGE`` for ``probe.maxAge``.
"""

import os

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from pydantic import BaseModel, ValidationError

from webhook.config.model import Config
from webhook.errors import ConfigError


__all__ = ["default_config", "load_config", "parse_config"]

ENVIRONMENT_PREFIX: Final = "HARBOR_CACHE_"


def default_config() -> Config:
    """
    Return what `explain`, `rewrite` and `demo` use where no config file is named.
    """
    return Config.model_validate(
        {
            "apiVersion": "harbor-cache.io/v1",
            "kind": "Config",
            "harbor": {"url": "https://harbor-cache.example.com"},
        }
    )


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """
    Read, override by *environment* (the process's own if absent), and check a config file.

    Raises:
        ConfigError: naming the file, and every offending key by its path.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigError(f"{path}: {reason}") from error
    try:
        return parse_config(text, os.environ if environment is None else environment)
    except ConfigError as error:
        raise ConfigError(
            "\n".join(f"{path}: {line}" for line in str(error).splitlines())
        ) from error


def parse_config(text: str, environment: Mapping[str, str]) -> Config:
    """
    Turn the text of a config file into a `Config`.

    Raises:
        ConfigError: one line per offending key.
    """
    try:
        data = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or "can't be read"
        raise ConfigError(f"{where}no valid YAML: {what}") from error
    if not isinstance(data, dict):
        raise ConfigError("must be a mapping with apiVersion, kind and harbor")
    _override(data, environment)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error))) from error


def _explain(error: ValidationError) -> Iterator[str]:
    """
    Turn pydantic's findings into one line each: the key's path, and what is wrong with it.
    """
    for finding in error.errors(include_url=False, include_context=False):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in finding["loc"]
        ).lstrip(".")
        message = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "extra_forbidden":
            message = "unknown key"
        elif finding["type"] == "missing":
            message = "is missing"
        yield f"{path}: {message}" if path else message


def _override(data: dict[str, Any], environment: Mapping[str, str]) -> None:
    """
    Put the values of ``HARBOR_CACHE_…`` variables in their places.

    Names that fit no key are passed over: Kubernetes itself sets such variables for a Service
    that is called ``harbor-cache-webhook``.
    """
    for path in _scalar_paths(Config):
        name = ENVIRONMENT_PREFIX + "_".join(path).upper()
        if name not in environment:
            continue
        section = data
        *parents, leaf = (_camel(part) for part in path)
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                break  # Not a mapping: validation says so, in words of its own.
        else:
            section[leaf] = _read_value(name, environment[name])


def _read_value(name: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: no valid YAML") from error


def _scalar_paths(
    model: type[BaseModel], parents: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        path = (*parents, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _scalar_paths(field.annotation, path)
        elif "tuple" not in str(field.annotation):
            yield path


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)
