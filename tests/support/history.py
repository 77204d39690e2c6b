"""
The product as it was before the last round of changes, out of the repository's own history.
"""

import subprocess
import tarfile

from io import BytesIO
from pathlib import Path
from typing import Final

import pytest


__all__ = ["EARLIER", "earlier"]

# The last commit before Pods were rescued: another layout, another fence, other options.
EARLIER: Final = "cfc909f41e69d796d75864068da47e2631b548bb"
_ROOT: Final = Path(__file__).parents[2]


def earlier(directory: Path, *paths: str) -> Path:
    """
    Write *paths* of the earlier product to *directory*, and return it.

    The test is skipped, with the reason, where this is no clone, or one without its history.
    """
    command = ["git", "archive", "--format=tar", EARLIER, *paths]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        pytest.skip(f"needs the whole history (git fetch --unshallow): {said}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory
