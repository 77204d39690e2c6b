"""
The config file, read and checked.

Every scalar outside lists can be overridden by an environment variable: see
`webhook.config.environment`.
"""

import os

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pydantic import ValidationError

from webhook.config.environment import override
from webhook.config.model import Config
from webhook.config.words import explain
from webhook.errors import ConfigError


__all__ = ["default_config", "load_config", "parse_config"]


class _Loader(yaml.CSafeLoader):
    """
    A loader that refuses a key that stands twice; YAML forbids it, and the last one would win.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - as it is called.
        """
        Make a mapping out of a node.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


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

    Relative paths in it count from its own directory.

    Raises:
        ConfigError: naming the file, and every offending key by its path.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigError(f"{path}: {reason}") from error
    try:
        return parse_config(text, os.environ if environment is None else environment, path.parent)
    except ConfigError as error:
        raise ConfigError(
            "\n".join(f"{path}: {line}" for line in str(error).splitlines())
        ) from error


def parse_config(
    text: str, environment: Mapping[str, str], directory: Path | None = None
) -> Config:
    """
    Turn the text of a config file, which lies in *directory*, into a `Config`.

    Raises:
        ConfigError: one line per offending key.
    """
    data = _read(text)
    notes = override(data, environment)
    try:
        config = Config.model_validate(data, context={"directory": directory})
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, Config))) from error
    return config.with_notes(notes)


def _read(text: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one.
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or "can't be read"
        raise ConfigError(f"{where}no valid YAML: {what}") from error
    except ValueError as error:  # Such as a date that is none.
        raise ConfigError(f"no valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError("must be a mapping with apiVersion, kind and harbor")
    return data
