"""
A wrong value for every option of every command, made from the commands' own declarations.
"""

import json
import socket
import subprocess
import sys

import click
import pytest

from click.testing import CliRunner

from webhook.cli import main


CONFIG = 'apiVersion: harbor-cache.io/v1\nkind: Config\nharbor: {url: "https://h.example"}\n'
# What is free text: the name of a thing that need not be there, or what the command says itself.
FREE = {
    "--ca-secret",
    "--cluster-name",
    "--fence",
    "--host",
    "--lease",
    "--namespace",
    "--path",
    "--quarantine-configmap",
    "--service",
    "--tls-cert",
    "--tls-key",
    "--tls-secret",
    "--url",
    "--username",
    "--webhook-configuration",
}
WRONG_TEXT = {
    "--ca-lifetime": "soon",
    "--certificate-lifetime": "soon",
    "--context": "no-such-context",
    "--pod": "no-slash",
}


def commands(group=main, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def options():
    for path, command in commands():
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_flag:
                yield pytest.param(path, command, option, id=f"{' '.join(path)} {option.opts[-1]}")


def wrong(option, directory):
    """
    Return a value that the option must refuse, or None where any text will do.
    """
    name = option.opts[-1]
    kind = option.type
    if name in WRONG_TEXT:
        return WRONG_TEXT[name]
    if isinstance(kind, click.Choice):
        return "no-such-choice"
    if isinstance(kind, click.IntRange | click.FloatRange):
        return "-1"
    if name == "--config" or (isinstance(kind, click.Path) and not kind.dir_okay):
        return str(directory)
    if isinstance(kind, click.Path) and name == "--out":
        return str(directory / "config.yaml")
    if kind is click.INT or kind is click.FLOAT:
        return "many"
    if name == "--password-file":
        return str(directory / "missing")
    return None


def run(arguments):
    if arguments[0] == "controller":  # Its log wants a real standard output.
        command = [sys.executable, "-m", "webhook", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return ended.returncode, ended.stderr
    result = CliRunner().invoke(main, arguments)

    assert isinstance(result.exception, SystemExit)
    return result.exit_code, result.stderr


@pytest.mark.parametrize(("path", "command", "option"), list(options()))
def test_a_wrong_value_is_one_sentence(path, command, option, tmp_path, monkeypatch):
    """A wrong value for an option ends with one sentence, exit code 1 or 2, and no traceback."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "current-context": "here"}
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}
    context = {"name": "here", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "t"}}
    lists = {"clusters": [cluster], "contexts": [context], "users": [user]}
    (tmp_path / "kubeconfig").write_text(json.dumps({**kubeconfig, **lists}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.chdir(tmp_path)
    value = wrong(option, tmp_path)
    if value is None:
        assert option.opts[-1] in FREE
        return
    arguments = [*path, option.opts[-1], value]
    for other in command.params:
        if other.required and other is not option:
            known = {"--config": "config.yaml", "--out": str(tmp_path / "out")}
            given = known.get(other.opts[-1], "something")
            arguments += [other.opts[-1], given] if isinstance(other, click.Option) else [given]
    if option.opts[-1] == "--context":
        arguments += {"explain": ["--pod", "a/b"], "controller": ["--namespace", "a"]}.get(
            path[-1], []
        )
    if path[-1] == "controller" and option.opts[-1].endswith("lifetime"):
        arguments += ["--namespace", "a"]
    code, errors = run(arguments)

    assert code in {1, 2}
    assert 1 == sum(line.startswith("Error: ") for line in errors.splitlines())
    assert errors.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in errors


@pytest.mark.parametrize("option", ["--port", "--ops-port"])
def test_a_taken_port_is_a_sentence(option, tmp_path):
    """`serve` says which port it can't have, and why, as its last word, with exit code 1."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": "0", "--ops-port": "0", option: str(port)}
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "webhook", "serve", "--host", "127.0.0.1"),
                *("--config", tmp_path / "config.yaml", "--tls-cert", "a", "--tls-key", "b"),
                *(word for pair in ports.items() for word in pair),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert 1 == ended.returncode
    assert (
        f"Error: can't listen on 127.0.0.1, port {port}: Address already in use\n" == ended.stderr
    )


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8", "utf-16"])
def test_any_encoding_will_do(encoding):
    """What can't be encoded is written plainly, and nothing breaks, whatever the terminal's."""
    ended = subprocess.run(
        [sys.executable, "-m", "webhook", "explain", "nginx", "docker.io/тест"],
        capture_output=True,
        env={"PYTHONIOENCODING": encoding, "PATH": ""},
        timeout=60,
        check=False,
    )
    text = ended.stdout.decode(encoding)

    assert (0, b"") == (ended.returncode, ended.stderr)
    assert f"docker.io {'→' if 'utf' in encoding else '->'} proxy.docker.io" in text
