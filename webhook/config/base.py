"""
What every section of the config file has in common.
"""

import re

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic.alias_generators import to_camel


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
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value))


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
"""
A time span in seconds, written with a unit in the config file.
"""
