"""
direnv itself, with the rendered `.envrc`.
"""

import json
import os
import subprocess

import pytest

from tests.support.programs import require_program
from webhook.render import files, write


@pytest.fixture
def direnv(tmp_path, config):
    """
    Render for Traefik, fill .env in, and return a function that runs direnv in the folder.
    """
    program = require_program("direnv", "direnv")
    folder = tmp_path / "traefik"
    write(files("traefik", config()), folder, force=False)
    (folder / ".env").write_text("AWS_ACCESS_KEY_ID=mine\nAWS_REGION=eu-west-1\n")
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: text for name, text in os.environ.items() if "DIRENV" not in name}
    environment |= {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}

    def run(*command):
        return subprocess.run(
            [program, *command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )

    return run


def test_direnv_says_blocked_first(direnv):
    """
    Before `direnv allow` nothing is loaded, and direnv says "blocked".
    """
    result = direnv("export", "json")

    assert 0 != result.returncode
    assert "is blocked" in result.stderr
    assert "mine" not in result.stdout


def test_direnv_loads_what_compose_reads(direnv):
    """
    After `direnv allow` the variables of .env are there, in the folder alone.
    """
    direnv("allow")

    result = direnv("export", "json")

    assert 0 == result.returncode, result.stderr
    loaded = json.loads(result.stdout)
    assert ("mine", "eu-west-1") == (loaded["AWS_ACCESS_KEY_ID"], loaded["AWS_REGION"])
