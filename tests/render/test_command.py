import pytest

from click.testing import CliRunner

from webhook.cli import main


_CONFIG = """
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {url: https://harbor-cache.example.com}
provisioning: {oidc: {endpoint: https://dex.example.com, clientSecretFile: client-secret}}
"""


@pytest.fixture
def render(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(_CONFIG)

    def run(kind, *options):
        out = tmp_path / "out"
        arguments = ["render", kind, "--config", str(config), "--out", str(out), *options]
        return CliRunner().invoke(main, arguments), out

    return run


def test_it_says_what_it_wrote(render):
    """
    Every file is named, and no secret is shown.
    """
    result, out = render("dex")

    secret = (out / "client-secret").read_text()
    assert 0 == result.exit_code
    assert {str(path) for path in out.iterdir()} == {
        line.split()[1] for line in result.output.splitlines()
    }
    assert secret not in result.output


def test_what_is_in_the_way(render):
    """
    Rendering twice is refused with exit code 1 and the names of the files; nothing changes.
    """
    render("dex")
    _, out = render("dex", "--force")
    before = {path: path.read_bytes() for path in out.iterdir()}
    (out / "values.yaml").unlink()

    result, _ = render("dex")

    assert 1 == result.exit_code
    assert f"{out}/helmfile.yaml: is in the way" in result.output
    assert "Traceback" not in result.output
    assert not (out / "values.yaml").exists()
    assert all(before[path] == path.read_bytes() for path in out.iterdir())


def test_force_keeps_the_secret(render):
    """
    A second rendering with --force says that it kept the secret, and keeps it.
    """
    _, out = render("dex")
    secret = (out / "client-secret").read_text()
    (out / "values.yaml").write_text("mine")

    result, _ = render("dex", "--force")

    assert 0 == result.exit_code
    assert secret == (out / "client-secret").read_text()
    assert "mine" != (out / "values.yaml").read_text()
    assert f"kept     {out}/client-secret" in result.output


def test_force_keeps_filled_in_credentials(render):
    """
    A .env that somebody filled in survives --force.
    """
    _, out = render("traefik")
    (out / ".env").write_text("AWS_ACCESS_KEY_ID=mine\n")

    render("traefik", "--force")

    assert "AWS_ACCESS_KEY_ID=mine\n" == (out / ".env").read_text()
    assert 0o600 == (out / ".env").stat().st_mode & 0o777


def test_paths_count_from_the_config_file(render, tmp_path, monkeypatch):
    """
    A relative vm.caFile is looked for beside the config file, wherever the command is run.
    """
    (tmp_path / "ca.crt").write_text("their CA")
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("vm: {caFile: ca.crt}\n")
    monkeypatch.chdir("/")

    result, out = render("docker")

    assert 0 == result.exit_code, result.output
    assert "their CA" == (out / "certs.d/harbor-cache.example.com/ca.crt").read_text()


def test_a_wrong_config(render, tmp_path):
    """
    A mistake in the config is named by its key, with exit code 2.
    """
    (tmp_path / "config.yaml").write_text(_CONFIG + "vm: {fornt: traefik}\n")

    result, out = render("harbor")

    assert 2 == result.exit_code
    assert "vm.fornt: unknown key" in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    "kind", ["harbor", "traefik", "dex", "containerd", "docker", "nodes", "certs"]
)
def test_every_kind_has_help(kind):
    """
    Each kind explains itself and its options.
    """
    result = CliRunner().invoke(main, ["render", kind, "--help"])

    assert 0 == result.exit_code
    assert "--force" in result.output
