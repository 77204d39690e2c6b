"""
What every section of the config file has in common.
"""

import re

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema


class Section(BaseModel):
    """
    A section of the config file: camelCase keys, unknown keys are errors, values are final.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        validate_default=True,
    )


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST: Final = 3650 * 86400.0
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)


def parse_duration(value: Any) -> float:
    """
    Turn a duration like ``5s``, ``1m30s`` or ``24h`` into seconds.

    Raises:
        ValueError: if it is anything else; a number without a unit is refused, since nobody can
            tell seconds from milliseconds by looking at it.
    """
    if isinstance(value, float):  # A default that was given in seconds.
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("must be a duration with a unit, such as 5s, 1m30s or 24h")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value))
    if seconds > _LONGEST:
        raise ValueError("must be at most 3650d")
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
"""
A time span in seconds, written with a unit in the config file.
"""


@dataclass(frozen=True, slots=True)
class Matching:
    """
    What a text must look like, as the metadata of an annotated ``str``.

    Attributes:
        pattern: what the whole text must match.
        words: the same for people, as it follows "must be".
        longest: how many characters it may have.
    """

    pattern: str
    words: str
    longest: int = 255

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        pattern = f"^(?:{self.pattern})$"
        return {**handler(schema), "pattern": pattern, "maxLength": self.longest}

    def _check(self, text: str) -> str:
        if len(text) > self.longest or not re.fullmatch(self.pattern, text, re.ASCII):
            raise ValueError(f"must be {self.words}, not {text!r}")
        return text


def _from_config_file(path: Path, info: ValidationInfo) -> Path:
    if not path.name or not str(path).isprintable():
        raise ValueError("must name a file")
    directory = (info.context or {}).get("directory")
    return directory / path if directory else path


ConfigPath = Annotated[Path, AfterValidator(_from_config_file)]
"""
A file; a relative path counts from the directory of the config file.
"""

KubernetesName = Annotated[
    str,
    Matching(
        r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?",
        "a name of lower-case letters, digits, - and .",
        longest=253,
    ),
]
"""
The name of an object in Kubernetes.
"""

ServerUrl = Annotated[
    str, Matching(r"https?://[^\s/]+(?:/\S*)?", "a URL such as https://registry.example.com")
]
"""
Where a server is, with its scheme; a path may follow.
"""
