"""
The playbook, run on an empty Debian machine whose systemd is real.

Docker and what Harbor's installer brings are played, by scripts that check what they are given
(tests/support/machine); Harbor's health is a stand-in's.
"""

import socket
import ssl

import pytest

from tests.support.machine.machine import Machine
from tests.support.machine.play import playing, recap
from tests.support.programs import require_program
from webhook.config import parse_config
from webhook.demo.standin import HarborStandIn, ThreadedStandIn
from webhook.render import certificates, files, write


# A machine of its own needs root, as a node does.
pytestmark = [pytest.mark.node, pytest.mark.slow]

_CONFIG = """
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {{url: "{url}"}}
vm: {{front: {front}, httpPort: {port}, harborVersion: v2.15.2}}
"""


@pytest.fixture
def machine(tmp_path):
    require_program("debootstrap", "debootstrap")
    require_program("gpg", "gpg")
    with Machine(tmp_path) as running:
        yield running


@pytest.fixture
def play(machine, tmp_path):
    with playing(machine, tmp_path) as run:
        yield run


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


def _check(machine, play):
    """
    Run it once, look, and return the output and the passwords that must not be in it.
    """
    done = play()
    journal = machine.run("journalctl", "--unit=harbor.service", "--no-pager")
    assert 0 == done.returncode, done.stdout + done.stderr + journal
    passwords = _check_what_both_have(machine)
    print(f"first run: {recap(done)}")
    output = done.stdout + done.stderr

    assert not [one for one in passwords if one in output]
    assert "prepared" == _played(machine)[0]
    assert "up --detach --remove-orphans in /opt/harbor" == _played(machine)[-1]


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

        _check(machine, play)
        played = _played(machine)
        again = play()
        print(f"second run: {recap(again)}")

    assert 0 == again.returncode, again.stdout + again.stderr
    assert "0" == recap(again)["changed"], again.stdout
    assert played == _played(machine)
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
        _check(machine, play)
    nginx = (machine.root / "opt/harbor/common/config/nginx/nginx.conf").read_text()

    assert nginx.startswith("http {\n  proxy_connect_timeout 10s;\n  proxy_read_timeout 45s;\n")
    assert "proxy_read_timeout 45s;" in nginx.partition("location /v2/")[2]
    assert "900" not in nginx
    assert "0:0 600" == _owner(machine, "tls/harbor.key")
