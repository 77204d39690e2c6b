"""
What is wrong with a config, in our own words: one sentence per fault, with the key's path.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError


__all__ = ["closest", "explain", "sections_of"]

_SHOWN: Final = 60

# What pydantic finds → what to write instead; the context of a finding fills the gaps.
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "tuple_type": "must be a list, such as [a, b]",
    "too_short": "must not be empty; leave it out for the default",
    "model_type": "must be a mapping of keys and values",
    "dict_type": "must be a mapping of keys and values",
    "path_type": "must name a file",
    "invalid_key": "is no key; keys are text",
}
# Behind these the value itself helps.
_SHOW_VALUE: Final = {"bool_parsing", "int_parsing", "int_from_float", "float_parsing"}


def explain(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """
    Yield one sentence per finding of pydantic in what should be a *model*.
    """
    findings = error.errors(include_url=False)
    for finding in findings:
        location = finding["loc"]
        inside = any(f["loc"][: len(location)] == location != f["loc"] for f in findings)
        if inside and finding["type"] == "too_short":
            continue  # Its items are wrong, and were not counted.
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in finding["loc"]
        ).lstrip(".")
        sentence = _sentence(finding, model)
        yield f"{path}: {sentence}" if path else sentence


def closest(name: str, known: Iterable[str]) -> str:
    """
    Return a question for the one of *known* that looks like *name*; empty where none does.
    """
    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """
    Yield the sections that a field of this type holds: itself, or inside of ``X | None`` or a list.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from sections_of(argument)


def _sentence(finding: Any, model: type[BaseModel]) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + _similar_key(finding["loc"], model)
    if kind == "literal_error":
        return (
            f"must be {context['expected'].replace(chr(39), '')}, not {_short(finding['input'])}"
        )
    if kind == "string_type":
        plain = isinstance(finding["input"], int | float)
        return 'must be text; put it in quotes: "…"' if plain else "must be text"
    if kind in _WORDS:
        sentence = _WORDS[kind].format(**context)
        return f"{sentence}, not {_short(finding['input'])}" if kind in _SHOW_VALUE else sentence
    message: str = finding["msg"]
    return message.removeprefix("Value error, ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _similar_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    *parents, name = location
    sections = [model]
    for part in parents:
        if isinstance(part, str):
            sections = [
                inner
                for section in sections
                for field in section.model_fields.values()
                if field.alias == part
                for inner in sections_of(field.annotation)
            ]
    return closest(str(name), [str(f.alias) for s in sections for f in s.model_fields.values()])
