"""
A program that runs beside us, and that never outlives us.
"""

import contextlib
import subprocess

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from webhook.errors import HarborCacheError


__all__ = ["Program", "ProgramError"]


# A watcher stops the program when our end of its pipe closes, which the kernel does however we
# end.  `exec` keeps the process id, so the program itself is our child, with no shell between.
# "done" tells the watcher that the program is gone, so that it kills no later bearer of its id.
_SUPERVISED: Final = """
exec 3<&0
{
  read -r word
  if [ "$word" != done ]; then
    kill $$; sleep 3; kill -9 $$
  fi
} <&3 >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null
"""
_GRACE: Final = 3.0  # Seconds; kube-apiserver would wait much longer for open watches.


class ProgramError(HarborCacheError):
    """
    A program did not start, or ended when it should not have; the message ends with its log.
    """


class Program:
    """
    One program with its log file; `start` and `stop` may alternate.

    It runs in a session of its own, so that Ctrl-C in a terminal reaches us and not it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        grace: float = _GRACE,
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self._environment = dict(environment) if environment is not None else None
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The program's file name."""
        return Path(self.command[0]).name

    @property
    def pid(self) -> int:
        """The process id; of the last process where none runs."""
        if self._process is None:
            raise ProgramError(f"{self.name} was never started.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """
        Start the program; its output is appended to the log.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  The caller says what runs.
                ["/bin/sh", "-c", _SUPERVISED, self.name, *self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def check(self) -> None:
        """
        Raise `ProgramError` if the program has ended.
        """
        if not self.running:
            raise ProgramError(f"{self.name} has ended.\n{self.log_end()}")

    def stop(self) -> int:
        """
        Ask the program to end, kill it when it does not, and return its exit code.

        A program that was killed has a negative exit code, as in `subprocess`.
        """
        process = self._process
        if process is None:
            return 0
        process.terminate()
        try:
            process.wait(self._grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._dismiss_watcher(process)
        return process.returncode

    def kill(self) -> None:
        """
        End the program with no chance to clean up.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._dismiss_watcher(self._process)

    def log_end(self, lines: int = 15) -> str:
        """
        Return the last lines of the log.
        """
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @staticmethod
    def _dismiss_watcher(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"done\n")
                process.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
