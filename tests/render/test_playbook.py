"""
The playbook, run twice on an empty Debian machine whose systemd is real.

Docker and what Harbor's installer brings are played, by scripts that check what they are given
(tests/support/machine); Harbor's health is a stand-in's.
"""

import functools
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading

from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.machine.machine import SUITE, Machine
from tests.support.machine.packages import make_repository
from tests.support.programs import require_program
from tests.support.render_programs import from_python_package
from webhook.config import parse_config
from webhook.demo.standin import HarborStandIn, ThreadedStandIn
from webhook.render import certificates, files, write


pytestmark = pytest.mark.slow

_SUPPORT = Path(__file__).parents[1] / "support/machine"
_ANSIBLE = ("ansible-core==2.19.14", "ansible-lint==26.10.1")
_CONFIG = """
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {{url: "{url}"}}
vm: {{front: {front}, httpPort: {port}, harborVersion: v2.15.2}}
"""


@pytest.fixture
def machine(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a machine of its own needs root")
    require_program("debootstrap", "debootstrap")
    require_program("gpg", "gpg")
    with Machine(tmp_path) as running:
        yield running


@contextmanager
def _serving(folder):
    handler = functools.partial(_Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def _make_installer(folder):
    """
    Pack what Harbor's online installer is, as far as the playbook looks into it.
    """
    harbor = folder / "installer/harbor"
    harbor.mkdir(parents=True)
    shutil.copy(_SUPPORT / "prepare", harbor / "prepare")
    (harbor / "prepare").chmod(0o755)
    (harbor / "harbor.yml.tmpl").write_text("hostname: reg.mydomain.com\n")
    (harbor / "install.sh").write_text("#!/bin/sh\nexit 1\n")
    with tarfile.open(folder / "harbor.tgz", "w:gz") as archive:
        archive.add(harbor, "harbor")


@pytest.fixture
def play(machine, tmp_path):
    """
    Return a function that runs the rendered playbook on the machine, and returns what it says.
    """
    playbook = from_python_package("ansible-lint", *_ANSIBLE).with_name("ansible-playbook")
    offered = tmp_path / "offered"
    make_repository(offered, SUITE)
    _make_installer(offered)
    (tmp_path / "inventory").write_text("[harbor]\nmachine\n")

    def run(url):
        variables = {
            "ansible_connection": "machine",
            "ansible_become": False,
            "ansible_python_interpreter": "/usr/bin/python3",
            "machine_pid": str(machine.pid),
            "docker_packages": url,
            "harbor_installer": f"{url}/harbor.tgz",
        }
        return subprocess.run(
            [
                *(playbook, "--inventory", tmp_path / "inventory"),
                *("--extra-vars", json.dumps(variables), "-v"),
                tmp_path / "harbor/playbook.yml",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=os.environ
            | {
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
                "ANSIBLE_CONNECTION_PLUGINS": str(_SUPPORT / "connection"),
                "ANSIBLE_NOCOLOR": "1",
                # Fewer steps per task: the tests wait for each.
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_GATHER_SUBSET": "!all,!min,distribution",
                "NO_PROXY": "*",
                "no_proxy": "*",
            },
        )

    with _serving(offered) as url:
        yield functools.partial(run, url)


def _recap(done):
    line = done.stdout.rstrip().rpartition("\n")[2]
    return dict(part.split("=") for part in line.split() if "=" in part)


def _owner(machine, path):
    return machine.run("stat", "-c", "%u:%g %a", f"/opt/harbor/{path}").strip()


def _check_what_both_have(machine):
    passwords = [
        (machine.root / f"opt/harbor/secrets/{name}-password").read_text().strip()
        for name in ("admin", "database")
    ]
    text = (machine.root / "opt/harbor/harbor.yml").read_text()
    print(machine.run("id", "harbor").strip())
    print(machine.run("systemctl", "is-active", "docker", "harbor").split())

    assert machine.run("id", "harbor").startswith("uid=10000(harbor) gid=10000(harbor)")
    assert "docker" in machine.run("id", "-Gn", "harbor").split()
    assert all(password in text for password in passwords)
    for name in ("core", "registryctl", "db", "jobservice"):
        assert "10000:10000 640" == _owner(machine, f"common/config/{name}/env")
    # What is not among the four keeps the owner that `prepare` gave it.
    assert "999:999 640" == _owner(machine, "common/config/log/env")
    assert "0:0 600" == _owner(machine, "harbor.yml")
    assert ["active", "active"] == machine.run(
        "systemctl", "is-active", "docker", "harbor"
    ).split()
    assert "enabled" == machine.run("systemctl", "is-enabled", "harbor").strip()
    return passwords


def _played(machine):
    return (machine.root / "var/lib/docker-played/log").read_text().splitlines()


def _check_twice(machine, play):
    first = play()
    journal = machine.run("journalctl", "--unit=harbor.service", "--no-pager")
    assert 0 == first.returncode, first.stdout + first.stderr + journal
    passwords = _check_what_both_have(machine)
    played = _played(machine)
    second = play()
    print(f"first run: {_recap(first)}")
    print(f"second run: {_recap(second)}")

    assert 0 == second.returncode, second.stdout + second.stderr
    assert "0" == _recap(second)["changed"], second.stdout
    assert played == _played(machine)
    for done in (first, second):
        assert not [one for one in passwords if one in done.stdout + done.stderr]
    assert "prepared" == played[0]
    assert "up --detach --remove-orphans in /opt/harbor" == played[-1]


def test_behind_traefik(machine, play, tmp_path):
    """
    An empty machine gets all of it, the unit really starts, and a second run changes nothing.
    """
    with ThreadedStandIn(HarborStandIn()) as harbor:
        config = parse_config(
            _CONFIG.format(
                url="https://harbor.example.com", front="traefik", port=harbor.harbor.port
            ),
            {},
        )
        for kind in ("harbor", "traefik"):
            write(files(kind, config), tmp_path / kind, force=False)

        _check_twice(machine, play)

    assert "10000:10000 600" == _owner(machine, ".env")
    assert "0:0 700" == _owner(machine, "acme")
    machine.run("systemctl", "stop", "harbor")
    assert "down in /opt/harbor" == _played(machine)[-1]


def test_self_signed(machine, play, tmp_path):
    """
    Where Harbor ends TLS itself it gets the pair, and its nginx no longer waits 15 minutes.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    config = parse_config(
        _CONFIG.format(url=f"https://127.0.0.1:{port}", front="self-signed", port=8080), {}
    )
    write(certificates(config, tmp_path / "certs"), tmp_path / "certs", force=False)
    write(files("harbor", config), tmp_path / "harbor", force=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certs/harbor.crt", tmp_path / "certs/harbor.key")
    with ThreadedStandIn(HarborStandIn(port=port, tls=context)):
        _check_twice(machine, play)
    nginx = (machine.root / "opt/harbor/common/config/nginx/nginx.conf").read_text()

    assert nginx.startswith("http {\n  proxy_connect_timeout 10s;\n  proxy_read_timeout 45s;\n")
    assert "proxy_read_timeout 45s;" in nginx.partition("location /v2/")[2]
    assert "900" not in nginx
    assert "0:0 600" == _owner(machine, "tls/harbor.key")
