"""
The rendered playbook, run on a machine; its downloads come from us.
"""

import functools
import http.server
import json
import os
import shutil
import subprocess
import tarfile
import threading

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.machine.machine import SUITE, Machine
from tests.support.machine.packages import make_repository
from tests.support.render_programs import from_python_package


__all__ = ["ANSIBLE", "playing", "recap"]

ANSIBLE: Final = ("ansible-core==2.19.14", "ansible-lint==26.10.1")
_HERE: Final = Path(__file__).parent


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def playing(
    machine: Machine, folder: Path
) -> Iterator[Callable[[], subprocess.CompletedProcess[str]]]:
    """
    Provide a function that runs `harbor/playbook.yml` of *folder* on the machine.
    """
    playbook = from_python_package("ansible-lint", *ANSIBLE).with_name("ansible-playbook")
    offered = folder / "offered"
    make_repository(offered, SUITE)
    _make_installer(offered)
    (folder / "inventory").write_text("[harbor]\nmachine\n")
    with _serving(offered) as url:
        variables = {
            "ansible_connection": "machine",
            "ansible_become": False,
            "ansible_python_interpreter": "/usr/bin/python3",
            "machine_pid": str(machine.pid),
            "docker_packages": url,
            "harbor_installer": f"{url}/harbor.tgz",
        }
        yield lambda: subprocess.run(
            [
                *(playbook, "--inventory", folder / "inventory"),
                *("--extra-vars", json.dumps(variables), "-v"),
                folder / "harbor/playbook.yml",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=os.environ
            | {
                "ANSIBLE_HOME": str(folder / "ansible"),
                "ANSIBLE_CONNECTION_PLUGINS": str(_HERE / "connection"),
                "ANSIBLE_NOCOLOR": "1",
                # Fewer steps per task: the tests wait for each.
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_GATHER_SUBSET": "!all,!min,distribution",
                "NO_PROXY": "*",
                "no_proxy": "*",
            },
        )


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """
    Return the counts of the last line, by their names.
    """
    line = done.stdout.rstrip().rpartition("\n")[2]
    return dict(part.split("=") for part in line.split() if "=" in part)


def _make_installer(folder: Path) -> None:
    """
    Pack what Harbor's online installer is, as far as the playbook looks into it.
    """
    harbor = folder / "installer/harbor"
    harbor.mkdir(parents=True)
    shutil.copy(_HERE / "prepare", harbor / "prepare")
    (harbor / "prepare").chmod(0o755)
    (harbor / "harbor.yml.tmpl").write_text("hostname: reg.mydomain.com\n")
    (harbor / "install.sh").write_text("#!/bin/sh\nexit 1\n")
    with tarfile.open(folder / "harbor.tgz", "w:gz") as archive:
        archive.add(harbor, "harbor")


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
