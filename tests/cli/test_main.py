import click
import pytest

from click.testing import CliRunner

from webhook import cli
from webhook.errors import ConfigError, HarborCacheError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (HarborCacheError("Harbor is on fire"), 1, "Error: Harbor is on fire\n"),
        (ConfigError("a: bad\nb: worse"), 2, "Error: a: bad\nb: worse\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_trouble_is_plain_words_and_an_exit_code(error, code, message, monkeypatch):
    """What goes wrong on purpose never shows a traceback, and tells by its exit code."""

    @click.command()
    def fail():
        raise error

    monkeypatch.setattr(cli.main, "get_command", lambda context, name: fail)
    result = CliRunner().invoke(cli.main, ["fail"])

    assert (code, message, "") == (result.exit_code, result.stderr, result.stdout)


@pytest.mark.parametrize("name", ["audit", "explain", "rewrite"])
def test_every_command_has_help(name):
    """--help of each command works and says something."""
    result = CliRunner().invoke(cli.main, [name, "--help"])

    assert 0 == result.exit_code
    assert f"Usage: main {name}" in result.stdout
