"""
`harbor-cache config validate`: what is wrong with a config file, before it is used.
"""

import pytest

from click.testing import CliRunner

from webhook.cli import main


GOOD = "apiVersion: harbor-cache.io/v1\nkind: Config\nharbor: {url: 'https://h.example'}\n"


def validate(*arguments, text=None):
    return CliRunner().invoke(main, ["config", "validate", *arguments], input=text)


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_a_good_config_is_called_good(arguments):
    """What can be used ends with 0 and one line, from standard input too."""
    result = validate(*arguments, text=GOOD)

    assert (0, "Good: 4 registries through h.example.\n", "") == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )


def test_every_fault_is_a_sentence(tmp_path):
    """Each fault stands on a line of its own with its file and key; the exit code is 2."""
    path = tmp_path / "config.yaml"
    path.write_text(f"{GOOD}nonsense: 1\nprobe: {{interval: often}}\n")
    result = validate(str(path))
    lines = result.stderr.splitlines()

    assert (2, "") == (result.exit_code, result.stdout)
    assert 2 == len(lines)
    assert all(str(path) in line for line in lines)
    assert any("nonsense: unknown key" in line for line in lines)


def test_what_is_unwise_is_noted():
    """Plain http is allowed, and said to be unwise."""
    result = validate(text=GOOD.replace("https", "http"))

    assert 0 == result.exit_code
    assert result.stderr.startswith("Note: harbor.url: http://")


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        (("/does/not/exist",), None, "/does/not/exist: No such file or directory"),
        (("-",), b"\xff\xfe", "is not UTF-8"),
        (("-",), "[", "no valid YAML"),
        (("-",), "", "must be a mapping"),
    ],
)
def test_what_is_no_config_is_told(arguments, text, words):
    """A file that is not there, not UTF-8, not YAML or empty is one sentence, exit code 2."""
    result = validate(*arguments, text=text)

    assert 2 == result.exit_code
    assert words in result.stderr
    assert 1 == result.stderr.count("\n")
