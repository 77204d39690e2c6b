"""
The servers that are measured, and what they use.
"""

import os
import sys
import time
import urllib.request

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from tests.support.kube.webhook import WebhookProcess, configuration
from webhook.demo.cluster import free_port
from webhook.demo.program import Program
from webhook.demo.standin import ThreadedStandIn


__all__ = ["SERVER_CORE", "Server", "bare", "cpu_seconds", "memory", "pin", "webhook"]

SERVER_CORE: Final = 0

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """
    A running server: its process, where it takes reviews, and how long it took to be ready.
    """

    pid: int
    url: str
    ready_seconds: float
    ca_bundle: bytes


@contextmanager
def webhook(
    directory: Path, harbor: ThreadedStandIn, *, command: Path | None = None
) -> Iterator[Server]:
    """
    Run `harbor-cache serve` with a Harbor that answers, at its default probe intervals.

    *command* is the `harbor-cache` of another commit.
    """
    config = configuration(harbor.url, probe={})
    process = WebhookProcess(directory, config, trustme.CA(), command=command)
    process.program.start()
    try:
        started = time.perf_counter()
        _wait(f"{process.ops_url}/readyz", process.program)
        seconds = time.perf_counter() - started
        pin(process.program.pid)
        yield Server(process.program.pid, f"{process.url}/mutate", seconds, process.ca_bundle)
    finally:
        process.stop()


@contextmanager
def bare(directory: Path, *what: str) -> Iterator[Server]:
    """
    Run the bare stack: the same server library and TLS, with nothing behind it, or just *what*.
    """
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    certificate, key = directory / "tls.crt", directory / "tls.key"
    pair.cert_chain_pems[0].write_to_path(certificate)
    pair.private_key_pem.write_to_path(key)
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", str(port), certificate, key, *what]
    with Program(command, log=directory / "bare.log") as program:
        time.sleep(2)
        program.check()
        pin(program.pid)
        yield Server(
            program.pid, f"https://127.0.0.1:{port}/mutate", 0.0, authority.cert_pem.bytes()
        )


def pin(pid: int, core: int = SERVER_CORE) -> None:
    """
    Keep all threads of a process on one core.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core % (os.cpu_count() or 1)})


def cpu_seconds(pid: int) -> float:
    """
    Return the processor time that a process has used.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> dict[str, float]:
    """
    Return what a process holds in memory now, and held at most, in MiB.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {
        "now": int(values["VmRSS"].split()[0]) / 1024,
        "peak": int(values["VmHWM"].split()[0]) / 1024,
    }


def _wait(url: str, program: Program) -> None:
    while True:
        program.check()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.01)
