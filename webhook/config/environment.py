"""
Environment variables that override values of the config file.

Every scalar outside lists has one: its path in upper case with underscores, such as
``HARBOR_CACHE_PROBE_MAX_AGE`` for ``probe.maxAge``.
"""

import re

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from webhook.config.model import Config
from webhook.config.words import closest, sections_of
from webhook.errors import ConfigError


__all__ = ["override"]

_PREFIX: Final = "HARBOR_CACHE_"

# What Kubernetes sets in every Pod of a namespace with a Service called harbor-cache-…
_OF_A_SERVICE: Final = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)",
    re.ASCII,
)
_URL_OF_A_SERVICE: Final = re.compile(r"(?:tcp|udp|sctp)://", re.ASCII)


def override(data: dict[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    """
    Put the values of ``HARBOR_CACHE_…`` variables in their places in *data*.

    Returns:
        a sentence for each such variable that overrides nothing; those that Kubernetes sets for a
        Service are passed over.

    Raises:
        ConfigError: if a value is no YAML.
    """
    known = {_PREFIX + "_".join(path).upper(): path for path in _scalar_paths(Config)}
    for name in known.keys() & environment.keys():
        section = data
        *parents, leaf = (to_camel(part) for part in known[name])
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = {}
            section = section[parent]
            if not isinstance(section, dict):
                break  # Not a mapping: validation says so, in words of its own.
        else:
            section[leaf] = _read_value(name, environment[name])
    return tuple(
        f"{name} overrides no key of the config{closest(name, known)}"
        for name, value in sorted(environment.items())
        if name.startswith(_PREFIX) and name not in known and not _is_of_a_service(name, value)
    )


def _is_of_a_service(name: str, value: str) -> bool:
    if name.endswith("_PORT") and _URL_OF_A_SERVICE.match(value):
        return True
    return _OF_A_SERVICE.fullmatch(name) is not None


def _read_value(name: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: no valid YAML") from error


def _scalar_paths(
    model: type[BaseModel], parents: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        path = (*parents, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _scalar_paths(field.annotation, path)
        elif "tuple" not in str(field.annotation) and not list(sections_of(field.annotation)):
            yield path
