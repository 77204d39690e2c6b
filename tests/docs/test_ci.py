"""
The settings in docs/ci.md, read by the tools that they are for.
"""

import json
import re
import subprocess
import tomllib

from pathlib import Path

import pytest

from tests.support.golang import built


PAGE = (Path(__file__).parents[2] / "docs/ci.md").read_text()
SOURCE = Path(__file__).parents[1] / "support/pipelines"


def _block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def _read(*arguments):
    program = built(SOURCE, ".") / "pipelines"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_buildkit_reads_its_mirrors(tmp_path):
    """
    BuildKit takes the file, and both registries have a mirror with the project in it.
    """
    file = tmp_path / "buildkitd.toml"
    file.write_text(_block("toml"))

    result = _read("buildkit", file)

    assert 0 == result.returncode, result.stderr
    host = "harbor-cache.example.com"
    assert {
        "docker.io": [f"{host}/proxy.docker.io"],
        "quay.io": [f"{host}/proxy.quay.io"],
        host: None,
    } == json.loads(result.stdout)


@pytest.mark.slow
def test_tekton_reads_its_timeout():
    """
    Tekton takes the key and the value, and refuses a value that is none.
    """
    (key, value) = re.search(r"`(default-imagepullbackoff-timeout): (\w+)`", PAGE).groups()

    assert "5m0s" == _read("tekton", key, value).stdout.strip()
    assert 0 != _read("tekton", key, "soon").returncode


def test_every_tool_says_who_has_read_it():
    """
    Each row of the table says whether its setting was tried.
    """
    table = PAGE.partition("| read by |\n")[2].partition("\n\n")[0].splitlines()[1:]
    last = [row.rstrip(" |").rpartition(" | ")[2] for row in table]

    assert 8 == len(table)
    assert {"not tried", "Tekton's own reader of that ConfigMap"} == set(last)
    assert tomllib.loads(_block("toml"))
