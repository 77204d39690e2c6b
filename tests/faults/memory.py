"""
A memory limit by the kernel, as a container has one.
"""

import errno
import os

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.faults.scenario import NotRun


__all__ = ["memory_limit"]

_ROOT: Final = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(pid: int, size: int) -> Iterator[Callable[[], int]]:
    """
    Let a process take *size* bytes more than it has; give what tells how often the kernel killed.

    What a process has already taken stays on the account of the group that it comes from.  The
    group made for it is removed at the end, by when the process has to be gone.

    Raises:
        NotRun: no such group can be made here.
    """
    old = _ROOT / "memory"
    new = "memory" in _read(_ROOT / "cgroup.subtree_control").split()
    parent, limit, events = (
        (_ROOT, "memory.max", "memory.events")
        if new
        else (old, "memory.limit_in_bytes", "memory.oom_control")
    )
    group = parent / f"harbor-cache-faults-{os.getpid()}"
    if not new and not old.is_dir():
        raise NotRun("there is no memory controller for control groups")
    try:
        group.mkdir()
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise NotRun(f"no control group can be made: {error.strerror}") from None
    try:
        (group / limit).write_text(str(size))
        (group / "cgroup.procs").write_text(str(pid))
        yield lambda: _kills(group / events)
    finally:
        group.rmdir()


def _kills(file: Path) -> int:
    found = dict(line.split() for line in _read(file).splitlines())
    return int(found["oom_kill"])


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii") if file.exists() else ""
