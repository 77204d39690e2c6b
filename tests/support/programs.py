"""
Programs that some tests need beside Python.
"""

import os
import shutil

import pytest


def require_program(name: str, package: str) -> str:
    """
    Return the path of a program; skip the test where it is missing, but fail in CI.

    `make test` passes on a machine that has only Python and make, and says what it left out.
    """
    path = shutil.which(name)
    if path is None:
        message = f"{name} is missing (Debian: apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
