"""
A file that is mounted into the Pod, read again when it changes.

Whatever it holds after a change, the last good value stays in force until there is a better one.
What was refused, and why, is logged once and counted, and shown by a gauge for as long as the file
is as bad as that: nobody has to have looked at the right moment.
"""

import asyncio
import hashlib

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from webhook.errors import HarborCacheError
from webhook.process.metrics import FileMetrics


__all__ = ["MountedFile", "tell_refused"]

T = TypeVar("T")

_log = structlog.get_logger()


class MountedFile(Generic[T]):
    """
    One file, what it was last good for, and why it is refused now, if it is.

    Nothing happens by itself: call `look` at the start and every few seconds, one at a time.

    Attributes:
        value: what the last good content says; None before there was any.
        refused: why the file as it is now can't be used; empty if it can.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        read: Callable[[Path], T],
        *,
        value: T | None = None,
        optional: bool = False,
        metrics: FileMetrics | None = None,
    ) -> None:
        """
        Prepare to read a file.

        *name* is what logs and metrics call it.  *read* turns it into a value, in a thread, and
        raises `HarborCacheError` for what can't be used.  *value* is what is known already.  That
        an *optional* file is not there is no fault; what it said before stays.
        """
        self.value = value
        self.refused = ""
        self._name = name
        self._path = path
        self._read = read
        self._optional = optional
        self._metrics = metrics
        self._seen: bytes | str = ""
        if metrics is not None:
            metrics.refused.labels(name).set(0)

    async def look(self) -> bool:
        """
        Read the file if it has changed; return whether there is another value now.

        Never raises for what the file holds, or for one that is not there.
        """
        return await asyncio.to_thread(self._look)

    def _look(self) -> bool:
        seen = _fingerprint(self._path)
        if seen == self._seen:
            return False
        # Before the content is read: a change in between is seen at the next look.
        self._seen = seen
        try:
            value = self._read(self._path)
        except HarborCacheError as error:
            self._refuse(str(error))
        except FileNotFoundError as error:
            self._refuse("" if self._optional else f"{self._path}: {error.strerror}")
        except OSError as error:
            self._refuse(f"{self._path}: {error.strerror}")
        except UnicodeDecodeError:
            self._refuse(f"{self._path}: is not UTF-8")
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not stop other looks.
            _log.error("reading a file failed", file=self._name, exc_info=True)
            self._refuse(f"{self._path}: can't be read ({type(error).__name__})")
        else:
            self._refuse("")
            if value != self.value:
                self.value = value
                _log.info("file loaded", file=self._name)
                if self._metrics is not None:
                    self._metrics.reloads.labels("loaded").inc()
                return True
        return False

    def _refuse(self, problem: str) -> None:
        self.refused = problem
        tell_refused(self._name, problem, self._metrics, kept=self.value is not None)


def tell_refused(name: str, problem: str, metrics: FileMetrics | None, *, kept: bool) -> None:
    """
    Log and count that a file was refused, or show by an empty *problem* that it is good again.

    *kept* says whether there is something good that stays in force.
    """
    if problem:
        event = "file refused, the last good one stays" if kept else "file refused"
        _log.error(event, file=name, problem=problem)
    if metrics is not None:
        metrics.refused.labels(name).set(1 if problem else 0)
        if problem:
            metrics.reloads.labels("refused").inc()


def _fingerprint(path: Path) -> bytes | str:
    """
    Return what changes when a file does, also when it comes or goes.
    """
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        return f"{error.strerror}"
