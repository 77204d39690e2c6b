"""
The JSON schema for editors says of a file what the program says.
"""

import json
import re

from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.config.test_model import HEAD, MINIMAL
from webhook.config import parse_config
from webhook.errors import ConfigError


_DOCS = Path(__file__).parents[2] / "docs"
_SCHEMA = json.loads((_DOCS / "config.schema.json").read_text())
_EXAMPLES = [
    text
    for text in re.findall(r"```yaml\n(.*?)```", (_DOCS / "configure.md").read_text(), re.DOTALL)
    if "apiVersion:" in text
]


def _is_valid(text):
    return jsonschema.Draft202012Validator(_SCHEMA).is_valid(yaml.safe_load(text))


def test_the_schema_is_one():
    """
    It is a JSON schema itself, and there are examples to hold it to.
    """
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)

    assert len(_EXAMPLES) >= 2


@pytest.mark.parametrize("text", [MINIMAL, *_EXAMPLES])
def test_what_is_good_is_good_in_an_editor(text):
    """
    The documented examples pass both.
    """
    assert parse_config(text, {})
    assert _is_valid(text)


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        MINIMAL.replace("v1", "v2"),
        MINIMAL + "pausd: true",
        MINIMAL + "paused: perhaps",
        MINIMAL + "mode: dry-run",
        MINIMAL + "probe: {interval: 5}",
        MINIMAL + "probe: {intervall: 5s}",
        MINIMAL + "pullSecrets: secret",
        MINIMAL + "pullSecrets: [A]",
        MINIMAL + "registries: [{host: quay.io}]",
        MINIMAL + "registries: [{host: 'https://quay.io', project: p}]",
        MINIMAL + "registries: [{host: quay.io, project: a/b}]",
        MINIMAL + "registries: [{host: quay.io, project: p, include: []}]",
        HEAD + "harbor: {url: harbor.example}",
        HEAD + "harbor: {url: 'https://u:p@h.example'}",
        MINIMAL + "vm: {directory: opt}",
        MINIMAL + "provisioning: {oidc: {endpoint: dex, clientSecretFile: s}}",
    ],
)
def test_what_is_wrong_is_wrong_in_an_editor(text):
    """
    Unknown keys, wrong kinds, and texts of a wrong form fail both.
    """
    with pytest.raises(ConfigError):
        parse_config(text, {})

    assert not _is_valid(text)


def test_every_key_is_described():
    """
    What the docs say of a key is what an editor shows.
    """
    described = 0
    for section in (_SCHEMA, *_SCHEMA["$defs"].values()):
        for name, key in section["properties"].items():
            described += bool(key.get("description"))

            assert key.get("description") or "$ref" in json.dumps(key), name
    assert described > 60
