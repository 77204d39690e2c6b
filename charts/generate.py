"""
Write what is derived from other files: the values of the chart's README, and schemas of the config.

The README's table comes from the comments in values.yaml; the chart's schema of `config`, and the
schema for editors, from the pydantic models of the config file.  So none can fall behind.  Run it
as ``make chart``.
"""

import json
import re

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from webhook.config import Config


CHART: Final = Path(__file__).parent / "harbor-cache-webhook"
_HEADING: Final = "## Values\n"
_KEY: Final = re.compile(r"(?P<indent> *)(?P<key>\w+):(?: (?P<value>.+))?")
_DOCS: Final = Path(__file__).parents[1] / "docs"
_DOCUMENTED_KEY: Final = re.compile(r"\| `(?P<key>[\w.\[\]]+)` \|.*\| (?P<meaning>[^|]+) \|")
# What helm says of a wrong value is taken from these; titles and Python's docstrings say nothing
# there, and defaults belong to the program.
_NOT_FOR_HELM: Final = ("title", "description", "default")


class Value(NamedTuple):
    """
    One documented value of the chart.
    """

    path: str
    default: str
    description: str


def documented_values(text: str) -> Iterator[Value]:
    """
    Yield the values of a values.yaml whose keys follow a ``# --`` comment.
    """
    parents: list[tuple[int, str]] = []
    description: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            description = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#"):
            if description:
                description.append(stripped.removeprefix("#").strip())
        elif match := _KEY.fullmatch(line):
            indent = len(match["indent"])
            parents = [parent for parent in parents if parent[0] < indent]
            parents.append((indent, match["key"]))
            if description:
                path = ".".join(key for _, key in parents)
                yield Value(path, _default(yaml.safe_load(text), path), " ".join(description))
            description = []


def _default(values: Any, path: str) -> str:
    for key in path.split("."):
        values = values[key]
    return json.dumps(values)


def readme(readme_text: str, values_text: str) -> str:
    """
    Return the README with its table of values written anew.
    """
    introduction = readme_text.partition(_HEADING)[0]
    rows = [
        f"| `{value.path}` | `{value.default}` | {value.description} |"
        for value in documented_values(values_text)
    ]
    return "\n".join(
        [introduction + _HEADING, "| Value | Default | What it does |", "|---|---|---|", *rows, ""]
    )


def schema(schema_text: str) -> str:
    """
    Return the chart's schema with the section `config` and its definitions written anew.
    """
    chart = json.loads(schema_text)
    config = Config.model_json_schema(by_alias=True)
    chart["$defs"] = _for_helm(config.pop("$defs"))
    # Empty until someone says which; the template says so in words of its own.
    url = chart["$defs"]["Harbor"]["properties"]["url"]
    url["pattern"] = f"^$|{url['pattern']}"
    # The chart fills these two in.
    config["required"] = [key for key in config["required"] if key not in ("apiVersion", "kind")]
    chart["properties"]["config"] = _for_helm(config)
    return json.dumps(chart, indent=2) + "\n"


def editor_schema(documentation: str) -> str:
    """
    Return the JSON schema of the config file for editors, each key with what the docs say of it.
    """
    config = Config.model_json_schema(by_alias=True)
    _without_titles(config)
    meanings = {
        match["key"].replace("[]", ""): match["meaning"].replace("`", "")
        for match in _DOCUMENTED_KEY.finditer(documentation)
    }
    _describe(config, config["$defs"], "", meanings)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | config
    schema |= {"title": "The config file of harbor-cache-webhook"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _without_titles(node: Any) -> None:
    if isinstance(node, dict):
        for key in ("title", "description"):
            if isinstance(node.get(key), str):
                del node[key]
        for inner in node.values():
            _without_titles(inner)
    elif isinstance(node, list):
        for inner in node:
            _without_titles(inner)


def _describe(node: Any, definitions: Any, path: str, meanings: dict[str, str]) -> None:
    """
    Put what the docs say of each key into the schema; a section is used in one place alone.
    """
    for name, each in node.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        if here in meanings:
            each["description"] = meanings[here]
        default = each.pop("default", None)
        if isinstance(default, float) and each.get("type") == "string":
            default = f"{default:g}s"  # A duration.
        if isinstance(default, bool | int | float | str):
            each["default"] = default
        for reference in re.findall(r"#/\$defs/(\w+)", json.dumps(each)):
            _describe(definitions[reference], definitions, here, meanings)


def _for_helm(node: Any) -> Any:
    """
    Leave out what helm has no use for, and null, which is never rendered.
    """
    if isinstance(node, list):
        return [_for_helm(item) for item in node if item != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    cleaned = {
        key: {name: _for_helm(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _for_helm(value)
        for key, value in node.items()
        if key not in _NOT_FOR_HELM
    }
    if len(cleaned.get("anyOf", ())) == 1:
        return cleaned.pop("anyOf")[0] | cleaned
    return cleaned


def main() -> None:
    """
    Write the files.
    """
    for path, written in generated().items():
        path.write_text(written, encoding="utf-8")


def generated() -> dict[Path, str]:
    """
    Return the files that are generated, and what should stand in them.
    """
    readme_file, schema_file = CHART / "README.md", CHART / "values.schema.json"
    values_text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return {
        readme_file: readme(readme_file.read_text(encoding="utf-8"), values_text),
        schema_file: schema(schema_file.read_text(encoding="utf-8")),
        _DOCS / "config.schema.json": editor_schema(
            (_DOCS / "configure.md").read_text(encoding="utf-8")
        ),
    }


if __name__ == "__main__":
    main()
