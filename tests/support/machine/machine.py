"""
An empty Debian machine: a root directory in which a systemd of its own runs.

It shares kernel and network with us.  Docker and what Harbor's installer brings are played, by
scripts that check what they are given; see `docker` and `prepare` beside this file.
"""

import contextlib
import secrets
import shutil
import subprocess
import time

from pathlib import Path
from typing import Final, Self

from tests.support.golang import cache_directory, locked
from webhook.demo.program import Program


__all__ = ["SUITE", "Machine"]

SUITE: Final = "bookworm"
_HERE: Final = Path(__file__).parent
_PACKAGES: Final = "python3,python3-apt,ca-certificates,curl,systemd,systemd-sysv,dbus"
_CGROUPS: Final = Path("/sys/fs/cgroup")
# What systemd would do to the kernel that it shares, or wait for: devices, clocks, logins.
_WANTS: Final = ("sysinit", "local-fs", "timers", "multi-user", "getty")
_STARTED_WITHIN: Final = 30.0  # Seconds.  It takes one.


class Machine:
    """
    One machine, empty when it is entered and gone when it is left.  Needs root.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self._cgroup = f"hcm{secrets.token_hex(4)}"
        self._program = Program(
            [
                *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
                *("sh", _HERE / "boot.sh", self.root, self._cgroups() / self._cgroup),
            ],
            log=directory / "systemd.log",
        )

    def __enter__(self) -> Self:
        subprocess.run(["cp", "--archive", "--reflink=auto", _base(), self.root], check=True)
        (self._cgroups() / self._cgroup).mkdir()
        try:
            self._program.start()
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._program.kill()
        deadline = time.monotonic() + 10
        ours = self._cgroups() / self._cgroup
        while ours.exists() and time.monotonic() < deadline:
            for folder in sorted(
                (each for each in ours.rglob("*") if each.is_dir()), reverse=True
            ):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                ours.rmdir()
            time.sleep(0.1)
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def pid(self) -> int:
        """
        The process id of its systemd.
        """
        self._program.check()
        path = f"/proc/{self._program.pid}/task/{self._program.pid}/children"
        for child in Path(path).read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        raise LookupError("systemd does not run yet")

    def run(self, *command: str) -> str:
        """
        Run a command on it and return what it prints, its errors too.
        """
        enter = (
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            "--pid",
            "--ipc",
            "--root",
            *("/usr/bin/env", "--chdir=/"),
        )
        done = subprocess.run([*enter, *command], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    @staticmethod
    def _cgroups() -> Path:
        return _CGROUPS if (_CGROUPS / "cgroup.procs").exists() else _CGROUPS / "systemd"

    def _wait(self) -> None:
        deadline = time.monotonic() + _STARTED_WITHIN
        while time.monotonic() < deadline:
            with contextlib.suppress(LookupError):
                if self.run("systemctl", "is-active", "multi-user.target") == "active\n":
                    return
            time.sleep(0.1)
        raise TimeoutError(f"systemd does not come up.\n{self._program.log_end()}")


def _base() -> Path:
    """
    Return a root directory with Debian in it, made once.
    """
    base = cache_directory() / f"machine-{SUITE}"
    with locked(cache_directory() / "machine.lock"):
        if not base.exists():
            partial = base.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", SUITE, partial],
                check=True,
                capture_output=True,
            )
            for target in _WANTS:
                for place in ("lib", "etc"):
                    wants = partial / place / f"systemd/system/{target}.target.wants"
                    shutil.rmtree(wants, ignore_errors=True)
            # What is to be installed comes from the test alone.
            (partial / "etc/apt/sources.list").unlink(missing_ok=True)
            for file in (partial / "var/lib/apt/lists").glob("*"):
                if file.is_file():
                    file.unlink()
            shutil.rmtree(partial / "var/cache/apt/archives")
            (partial / "var/cache/apt/archives/partial").mkdir(parents=True)
            partial.rename(base)
    return base
