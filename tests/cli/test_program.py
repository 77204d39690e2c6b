"""
Programs that run beside the demo and the tests: they start, stop, and never outlive us.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from webhook.demo.cluster import ClusterError, find_binaries, free_port
from webhook.demo.program import Program, ProgramError


def _gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_stop_ends_the_program(tmp_path):
    """
    A program that heeds SIGTERM ends by it.
    """
    with Program(["/bin/sleep", "100"], log=tmp_path / "log") as program:
        assert program.running

    assert not program.running
    assert program.stop() == -signal.SIGTERM


def test_stop_kills_what_does_not_heed(tmp_path):
    """
    A program that ignores SIGTERM is killed after the grace time.
    """
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    program = Program(["/bin/sh", "-c", script], log=tmp_path / "log", grace=0.2)
    program.start()
    while "ready" not in program.log_end():
        time.sleep(0.02)

    assert program.stop() == -signal.SIGKILL


def test_program_does_not_outlive_a_killed_parent(tmp_path):
    """
    A program ends when the process that started it is killed, with no chance to clean up.
    """
    script = (
        "import sys, time; from pathlib import Path; from webhook.demo.program import Program\n"
        "program = Program(['/bin/sleep', '100'], log=Path(sys.argv[1])); program.start()\n"
        "print(program.pid, flush=True); time.sleep(100)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "log"], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()

    assert _gone(pid, within=10)


def test_ended_program_is_reported_with_its_log(tmp_path):
    """
    `check` says which program ended, and what it said last.
    """
    program = Program(["/bin/sh", "-c", "echo no such flag; exit 3"], log=tmp_path / "log")
    program.start()
    deadline = time.monotonic() + 10
    while program.running and time.monotonic() < deadline:
        time.sleep(0.02)

    with pytest.raises(ProgramError, match=r"sh has ended\.\nno such flag"):
        program.check()

    assert program.stop() == 3


def test_assets_are_used_where_they_hold_all(tmp_path, monkeypatch):
    """
    KUBEBUILDER_ASSETS is used only if it holds all that is wanted.
    """
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).touch(mode=0o755)

    assert find_binaries() == tmp_path

    with pytest.raises(ClusterError, match="make cluster-binaries"):
        find_binaries(("etcd", "kubelet"))


def test_free_port_can_be_bound():
    """
    A free port is outside the range of outgoing connections.
    """
    assert 20_000 <= free_port() <= 32_000
