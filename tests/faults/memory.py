"""
A memory limit by the kernel, as a container has one.
"""

import errno
import os

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.scenario import NotRun


__all__ = ["Group", "memory_group"]

_ROOT: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Group:
    """
    A control group with a memory limit.
    """

    procs: Path
    events: Path

    def add(self, pid: int) -> None:
        """
        Let a process take as much as the limit says, beyond what it has already.
        """
        self.procs.write_text(str(pid))

    def inside(self, command: list[str], files: int) -> list[str]:
        """
        Return what runs *command* in the group from its start, with a soft limit of open files.
        """
        start = f'echo $$ > "$0" && ulimit -S -n {files} && exec "$@"'
        return ["/bin/sh", "-c", start, str(self.procs), *command]

    @property
    def kills(self) -> int:
        """
        How often the kernel killed.
        """
        found = dict(line.split() for line in _read(self.events).splitlines())
        return int(found["oom_kill"])


@contextmanager
def memory_group(size: int) -> Iterator[Group]:
    """
    Have a group whose processes can take *size* bytes.

    What a process has taken before it was added stays on the account of the group that it comes
    from.  The group is removed at the end, by when its processes have to be gone.

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
        yield Group(group / "cgroup.procs", group / events)
    finally:
        group.rmdir()


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii") if file.exists() else ""
