"""
Files that are written whole or not at all.
"""

import os
import tempfile

from pathlib import Path
from typing import Final


__all__ = ["PRIVATE", "Staged", "stage", "write_whole"]

PRIVATE: Final = 0o600
"""
Readable by the owner alone: what holds a secret.
"""


class Staged:
    """
    A file that is all on the disk, under another name beside its own.
    """

    def __init__(self, temporary: Path, target: Path) -> None:
        self._temporary = temporary
        self._target = target

    def put_in_place(self) -> None:
        """
        Give the file its own name, in place of whatever has it.

        Raises:
            OSError: if that can't be; what was there is still there.
        """
        self._temporary.replace(self._target)

    def discard(self) -> None:
        """
        Leave nothing behind of a file that was not put in place.
        """
        self._temporary.unlink(missing_ok=True)


def stage(path: Path, content: str | bytes, mode: int = 0o644) -> Staged:
    """
    Write *content* beside *path*, with the permissions *mode*, for several files at once.

    Text is written as UTF-8, its line ends as they are.

    Raises:
        OSError: if it can't be written; nothing is left behind then.
    """
    # Made by mkstemp with mode 0600: a secret is at no moment readable by others.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    staged = Staged(Path(name), path)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), mode)
    except BaseException:
        staged.discard()
        raise
    return staged


def write_whole(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """
    Write *content* to *path*, with the permissions *mode*: whoever reads it finds all of it.

    Raises:
        OSError: if it can't be written; what was there is still there.
    """
    staged = stage(path, content, mode)
    try:
        staged.put_in_place()
    except BaseException:
        staged.discard()
        raise
