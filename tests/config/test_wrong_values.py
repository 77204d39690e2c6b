"""
A wrong value for every key of the config file, made from the model's own declarations.

What is told is what the command tells.
"""

import json

import pytest
import yaml

from click.testing import CliRunner

from tests.config.test_model import MINIMAL, problems
from webhook.cli import main
from webhook.config import Config
from webhook.config.words import sections_of


# What must stand beside a key for its section to be complete.
_BESIDE = {
    "registries": {"host": "quay.io", "project": "p"},
    "provisioning.robot": {"manifestFile": "m"},
    "provisioning.oidc": {"endpoint": "https://dex.example.com", "clientSecretFile": "s"},
}
# Anything at all may be the text of these.
_FREE_TEXT = {
    "provisioning.oidc.name",
    "provisioning.oidc.clientId",
    "provisioning.oidc.scopes",
    "provisioning.oidc.groupsClaim",
    "provisioning.oidc.adminGroup",
    "provisioning.oidc.userClaim",
    "registries.upstream.name",
    "registries.upstream.type",
}


def _keys(model, path=()):
    for field in model.model_fields.values():
        here = (*path, field.alias)
        yield here, field.annotation
        for section in sections_of(field.annotation):
            yield from _keys(section, here)


_KEYS = {".".join(path): (path, annotation) for path, annotation in _keys(Config)}


def _config(path, value):
    """
    Return a config file that has *value* at *path*, and is otherwise complete.
    """
    config = yaml.safe_load(MINIMAL)
    section = config
    for index, part in enumerate(path[:-1]):
        beside = _BESIDE.get(".".join(path[: index + 1]), {})
        inner = section.get(part) or dict(beside)
        section[part] = [inner] if part == "registries" else inner
        section = inner
    section[path[-1]] = value
    return json.dumps(config)


def _lines(path, value):
    """
    Return what `harbor-cache config validate` says of a config with a wrong *value*.
    """
    result = CliRunner().invoke(main, ["config", "validate"], input=_config(path, value))

    assert (2, "") == (result.exit_code, result.stdout)
    assert isinstance(result.exception, SystemExit)
    return result.stderr.removeprefix("Error: ").splitlines()


def _named(path):
    return ".".join(path).replace("registries.", "registries[0].")


@pytest.mark.parametrize("key", _KEYS)
@pytest.mark.parametrize(
    "wrong",
    [{"no": "such thing"}, [["x"]], "\x01 no: such: thing", ""],
    ids=["mapping", "list", "text", "empty"],
)
def test_a_wrong_value_is_one_sentence(key, wrong):
    """
    A value of another kind, and text that means nothing, gives one sentence that names the key.
    """
    path, annotation = _KEYS[key]
    if key in _FREE_TEXT and isinstance(wrong, str):
        return
    if isinstance(wrong, dict) and list(sections_of(annotation)):
        wrong = 7
    [line] = _lines(path, wrong)

    assert line.startswith(_named(path))
    for word in ("Input should", "Value error", "Tuple", "pydantic", "Traceback"):
        assert word not in line


@pytest.mark.parametrize("key", _KEYS)
def test_a_misspelt_key_is_named(key):
    """
    A key with a letter too many gives one sentence, which asks for the one that was meant.
    """
    path, _ = _KEYS[key]
    lines = _lines((*path[:-1], f"{path[-1]}x"), None)

    assert f"{_named(path)}x: unknown key; did you mean {path[-1]}?" in lines


def test_every_key_is_tried():
    """
    The walk through the model reaches its ends.
    """
    assert len(_KEYS) > 70
    assert {
        "harbor.url",
        "registries.upstream.caFile",
        "vm.acme.email",
        "provisioning.robot.name",
    } <= set(_KEYS)


def test_a_sentence_per_fault():
    """
    Faults in several keys are all told, each by its path.
    """
    lines = problems(
        "harbor: {url: x}\nkind: Conf\napiVersion: 1\nprobe: {interval: 5, tiemout: 1s}\npaused: 7"
    )

    assert ["apiVersion", "kind", "harbor.url", "probe.interval", "probe.tiemout", "paused"] == [
        line.partition(":")[0] for line in lines
    ]
