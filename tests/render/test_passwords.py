import re
import stat
import subprocess

import pytest
import yaml

from webhook.render import files, write


@pytest.fixture
def folder(tmp_path, config):
    write(files("harbor", config()), tmp_path, force=False)
    return tmp_path


def _run(folder):
    return subprocess.run(
        [folder / "fill-passwords.sh"], capture_output=True, text=True, check=False, cwd="/"
    )


def _secret(folder, name, text):
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets" / name).write_text(text)


def _all_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_passwords_are_made_once(folder):
    """
    Missing passwords are made, differ, and stay the same when the script runs again.
    """
    first = _run(folder)
    before = {path: path.read_text() for path in _all_files(folder)}
    second = _run(folder)

    data = yaml.safe_load((folder / "harbor.yml").read_text())
    admin, database = data["harbor_admin_password"], data["database"]["password"]
    assert ("changed\n", "unchanged\n") == (first.stdout, second.stdout)
    assert before == {path: path.read_text() for path in _all_files(folder)}
    assert admin != database
    assert re.fullmatch(r"[A-Za-z0-9+/]{27}=", admin)
    assert admin == (folder / "secrets" / "admin-password").read_text().strip()
    assert database == (folder / "secrets" / "database-password").read_text().strip()


def test_nobody_else_can_read_them(folder):
    """
    harbor.yml and both password files have mode 0600.
    """
    _run(folder)

    written = [folder / "harbor.yml", *(folder / "secrets").iterdir()]
    assert 3 == len(written)
    assert [0o600] * 3 == [stat.S_IMODE(path.stat().st_mode) for path in written]


def test_git_ignores_them(folder):
    """
    Of all that lies in the folder after the script ran, git adds only what was rendered.
    """
    rendered = {path.relative_to(folder).as_posix() for path in _all_files(folder)}
    _run(folder)
    (folder / "common").mkdir()
    for name in ("inventory.yml", ".env", "docker-compose.yml", "common/env", "ca.key"):
        (folder / name).write_text("secret")
    git = ["git", "-c", "core.excludesFile=/dev/null", "-C", folder]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    added = subprocess.run([*git, "ls-files"], check=True, capture_output=True, text=True)

    assert rendered == set(added.stdout.splitlines())


@pytest.mark.parametrize("name", ["admin-password", "database-password"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Harbor12345\n", "that Harbor ships"),
        ("root123", "that Harbor ships"),
        ("tiny9\n", "shorter than 12"),
        ("", "is empty"),
        ("correct horse battery\n", "may hold only"),
        ("dollar$dollar$dollar\n", "may hold only"),
        ("quote'quote\"quote\n", "may hold only"),
        ("back\\slash\\slash\n", "may hold only"),
    ],
)
def test_bad_passwords_are_refused(folder, name, text, why):
    """
    Harbor's own passwords, and such as would not arrive unchanged, are refused; none is shown.
    """
    _secret(folder, name, text)

    result = _run(folder)

    assert 1 == result.returncode
    assert why in result.stderr
    assert not text.strip() or text.strip() not in result.stdout + result.stderr
    assert not (folder / "harbor.yml").exists()


def test_a_new_password_is_filled_in(folder):
    """
    A password of one's own ends up in harbor.yml exactly as it is, with what sed would change.
    """
    _secret(folder, "admin-password", "of/my~own+choice.=-_\n")

    result = _run(folder)

    data = yaml.safe_load((folder / "harbor.yml").read_text())
    assert "changed\n" == result.stdout
    assert "of/my~own+choice.=-_" == data["harbor_admin_password"]
