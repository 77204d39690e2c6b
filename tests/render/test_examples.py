from pathlib import Path

import pytest
import yaml

from click.testing import CliRunner

from webhook.cli import main
from webhook.render import KINDS


_DEPLOY = Path(__file__).parents[2] / "deploy"
# Not rendered, or made anew each time and in git nowhere.
_OURS = {"config.yaml", "README.md"}
_GENERATED = {"ca.crt", "ca.key", "harbor.crt", "harbor.key", "client-secret", ".env"}
_SELF_SIGNED = ("certs", "harbor", "containerd", "docker")


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.name not in _GENERATED
    }


@pytest.fixture
def rendered(tmp_path, monkeypatch):
    """
    Render kinds side by side, from an example's config, and return their parent.
    """

    def make(source, kinds):
        (tmp_path / "config.yaml").write_text((source / "config.yaml").read_text())
        monkeypatch.chdir(tmp_path)
        for kind in kinds:
            result = CliRunner().invoke(
                main, ["render", kind, "--config", "config.yaml", "--out", kind]
            )
            assert 0 == result.exit_code, result.output
        return tmp_path

    return make


def test_the_examples_are_what_is_rendered(rendered):
    """
    The folder deploy/ holds exactly what its config file renders to.
    """
    folder = rendered(_DEPLOY, KINDS)

    for kind in KINDS:
        assert _files(_DEPLOY / kind) == _files(folder / kind)


def test_the_self_signed_example(rendered):
    """
    Its config renders in the order of the guide, and what nodes trust is the CA that was made.
    """
    folder = rendered(_DEPLOY / "self-signed", _SELF_SIGNED)

    authority = (folder / "certs/ca.crt").read_text()
    trusted = "certs.d/harbor-cache.example.com/ca.crt"
    assert ["config.yaml"] == [path.name for path in (_DEPLOY / "self-signed").iterdir()]
    assert authority == (folder / "containerd" / trusted).read_text()
    assert authority == (folder / "docker" / trusted).read_text()
    assert "/opt/harbor/tls/harbor.crt" in (folder / "harbor/harbor.yml.tmpl").read_text()


@pytest.mark.parametrize("script", ["harbor/fill-passwords.sh", "dex/create-client-secret.sh"])
def test_scripts_can_be_run(script):
    """
    Scripts have kept their permission in git.
    """
    assert (_DEPLOY / script).stat().st_mode & 0o111


def test_nothing_secret_is_checked_in(monkeypatch):
    """
    No example has a password, a key or a filled .env.
    """
    text = "".join(text for text in _files(_DEPLOY).values())

    assert "PRIVATE KEY" not in text
    assert "BEGIN CERTIFICATE" not in text


def test_the_config_has_the_names_of_the_examples():
    """
    The example's config names the hosts, the client and the group that the texts speak of.
    """
    data = yaml.safe_load((_DEPLOY / "config.yaml").read_text())

    assert "https://harbor-cache.example.com" == data["harbor"]["url"]
    assert "harbor-cache-oidc-dex" == data["provisioning"]["oidc"]["clientId"]
    assert "cluster_admins" == data["provisioning"]["oidc"]["adminGroup"]
