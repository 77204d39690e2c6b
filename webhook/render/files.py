"""
Files in memory, and how they get into a folder without harm to what is there.
"""

import os

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from webhook.errors import RenderError
from webhook.process.whole_file import PRIVATE, Staged, stage


__all__ = ["File", "Written", "write"]

_PUBLIC: Final = 0o644
_EXECUTABLE: Final = 0o755


@dataclass(frozen=True, slots=True)
class File:
    """
    A file to be written, its path relative to the folder.

    One that is *kept* holds what can't be rendered again, such as a secret that was generated or
    filled in by hand: where it exists, it stays, whatever else is overwritten.
    """

    path: str
    text: str
    private: bool = False
    executable: bool = False
    kept: bool = False

    @property
    def mode(self) -> int:
        """
        The permissions it is written with.
        """
        if self.private:
            return PRIVATE
        return _EXECUTABLE if self.executable else _PUBLIC


@dataclass(frozen=True, slots=True)
class Written:
    """
    A file that is in place now; *kept* says that it was there before and was not touched.
    """

    path: Path
    kept: bool


def write(files: Iterable[File], folder: Path, *, force: bool) -> tuple[Written, ...]:
    """
    Write *files* into *folder*, making it where needed; return what became of each.

    Everything is written under other names first, and renamed only when all of it is there.

    Raises:
        RenderError: a file is in the way and *force* is not given, or something can't be
            written; nothing has changed then.
    """
    files = tuple(files)
    _look_first(files, folder, force=force)
    staged: list[Staged] = []
    done: list[Written] = []
    try:
        for file in files:
            target = folder / file.path
            kept = file.kept and target.exists()
            done.append(Written(target, kept))
            if kept:
                # It may have been copied about, by tools that know nothing of secrets.
                if file.private:
                    target.chmod(PRIVATE)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.append(stage(target, file.text, file.mode))
        for each in staged:
            each.put_in_place()
    except OSError as error:
        for each in staged:
            each.discard()
        raise RenderError(f"{error.filename or folder}: {error.strerror}") from error
    return tuple(done)


def _look_first(files: tuple[File, ...], folder: Path, *, force: bool) -> None:
    in_the_way = []
    for file in files:
        target = folder / file.path
        if target.is_dir():
            raise RenderError(f"{target}: is a folder, and a file should go there")
        if os.path.lexists(target):
            in_the_way.append(target)
    if in_the_way and not force:
        raise RenderError(
            "\n".join(f"{target}: is in the way" for target in in_the_way)
            + "\nNothing was written; --force overwrites these, but for secrets."
        )
