import json
import re

import pytest

from click.testing import CliRunner

from webhook.cli import main


@pytest.fixture(name="run")
def _run():
    def run(*arguments):
        return CliRunner().invoke(main, arguments)

    return run


def test_json_is_one_object_per_line(run):
    """With -o json each image gives one line with the four promised keys."""
    result = run("explain", "-o", "json", "nginx", "ghcr.io/acme/app:1")

    assert 0 == result.exit_code
    assert [
        {
            "image": "nginx",
            "outcome": "rewritten",
            "reason": "rule",
            "result": "harbor-cache.example.com/proxy.docker.io/library/nginx",
        },
        {
            "image": "ghcr.io/acme/app:1",
            "outcome": "kept",
            "reason": "no-rule",
            "result": "ghcr.io/acme/app:1",
        },
    ] == [json.loads(line) for line in result.stdout.splitlines()]


def test_a_terminal_gets_no_escape_sequence(run):
    """An image with ANSI escapes is shown with the escapes written out."""
    result = run("explain", "x\x1b[31m\r\n")

    assert 0 == result.exit_code
    assert r"x\x1b[31m\r\n" == result.stdout.splitlines()[0]


@pytest.mark.parametrize(("forbidden", "code"), [("", "\x1b[32m"), ("1", None)])
def test_an_outcome_has_a_color_on_a_terminal_alone(monkeypatch, forbidden, code):
    """A terminal shows by color what goes to Harbor, unless NO_COLOR is set; a pipe never does."""
    monkeypatch.setenv("NO_COLOR", forbidden)
    shown = CliRunner().invoke(main, ["explain", "nginx"], color=True).stdout
    piped = CliRunner().invoke(main, ["explain", "nginx"]).stdout

    assert (code is not None) == ("\x1b[3" in shown)
    assert code is None or code in shown
    assert "\x1b" not in piped
    assert piped == re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_the_config_file_decides(run, tmp_path):
    """The Harbor and the rules come from the config file."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: harbor-cache.io/v1\nkind: Config\n"
        "harbor: {url: 'https://h.example:8443'}\n"
        "registries: [{host: ghcr.io, project: proxy.ghcr.io}]\n"
    )
    result = run("explain", "--config", str(config), "-o", "json", "ghcr.io/acme/app:1")

    assert "h.example:8443/proxy.ghcr.io/acme/app:1" == json.loads(result.stdout)["result"]


def test_a_bad_config_names_every_key(run, tmp_path):
    """A mistake in the config file is named by file and key, with exit code 2."""
    config = tmp_path / "config.yaml"
    config.write_text("apiVersion: harbor-cache.io/v1\nkind: Config\nharbour: {}\n")
    result = run("explain", "--config", str(config), "nginx")

    assert 2 == result.exit_code
    assert (
        f"Error: {config}: harbor: is missing\n{config}: harbour: unknown key; did you mean harbor?\n"
        == result.stderr
    )


def test_a_missing_config_is_named(run):
    """A config file that is not there is a plain sentence, with exit code 2."""
    result = run("explain", "--config", "/does/not/exist.yaml", "nginx")

    assert 2 == result.exit_code
    assert "Error: /does/not/exist.yaml: No such file or directory\n" == result.stderr


def test_no_image_is_a_mistake_in_the_usage(run):
    """Without an image the usage is shown, with exit code 2."""
    result = run("explain")

    assert 2 == result.exit_code
    assert "Missing argument 'IMAGE...'" in result.stderr
