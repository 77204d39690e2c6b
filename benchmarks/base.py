"""
The product as it was at another commit, to be measured beside the one at hand.
"""

import os
import shutil
import subprocess

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


__all__ = ["installed", "last_tag"]

_ROOT = Path(__file__).parent.parent


def last_tag() -> str:
    """
    Return the last tag before this commit; empty if there is none.
    """
    done = _git("describe", "--tags", "--abbrev=0", check=False)
    return done.stdout.strip()


@contextmanager
def installed(revision: str) -> Iterator[tuple[str, Path]]:
    """
    Hold a checkout of *revision* with its own dependencies; give its short name and its command.

    Raises:
        SystemExit: if there is no such revision.
    """
    done = _git("rev-parse", "--short", "--verify", f"{revision}^{{commit}}", check=False)
    if done.returncode:
        raise SystemExit(f"BASE={revision} is no commit of this repository")
    directory = _ROOT / "build" / "base"
    _remove(directory)
    _git("worktree", "add", "--quiet", "--force", "--detach", str(directory), revision)
    try:
        uv = shutil.which("uv") or str(_ROOT / "build/uv/bin/uv")
        environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        subprocess.run(
            [uv, "sync", "--locked", "--quiet", "--no-dev"],
            cwd=directory,
            env=environment,
            check=True,
        )
        yield done.stdout.strip(), directory / ".venv/bin/harbor-cache"
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    _git("worktree", "remove", "--force", str(directory), check=False)
    shutil.rmtree(directory, ignore_errors=True)
    _git("worktree", "prune")


def _git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=_ROOT, check=check, capture_output=True, text=True)
