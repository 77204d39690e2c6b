import asyncio
import base64
import datetime as dt
import json
import ssl

import pytest

from click.testing import CliRunner

from certs.__main__ import main
from certs.source import FileSource
from tests.support import tls


def run(*arguments, text=None):
    return CliRunner().invoke(main, [str(one) for one in arguments], input=text)


def test_issued_pair_serves_and_is_trusted(tmp_path):
    """
    What `issue` writes can be served at once, and its keys are for their owner alone.
    """
    done = run("issue", tmp_path / "new", "--host", "localhost")
    source = FileSource(tmp_path / "new/tls.crt", tmp_path / "new/tls.key")
    source.check()

    assert done.exit_code == 0, done.output
    assert source.ready
    assert {"ca.crt": 0o644, "ca.key": 0o600, "tls.crt": 0o644, "tls.key": 0o600} == {
        path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()
    }
    ssl.create_default_context(cafile=tmp_path / "new/ca.crt")


def test_issue_overwrites_nothing_unasked(tmp_path):
    """
    A pair that is there stays, but for --force; the authority signs again and stays.
    """
    run("issue", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused = run("issue", tmp_path)
    unchanged = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    forced = run("issue", tmp_path, "--force")

    assert (refused.exit_code, before) == (1, unchanged)
    assert "exists; --force" in refused.output
    assert forced.exit_code == 0
    assert before["ca.crt"] == (tmp_path / "ca.crt").read_bytes()
    assert before["tls.crt"] != (tmp_path / "tls.crt").read_bytes()
    assert run("inspect", tmp_path).exit_code == 0


def test_issue_says_what_is_wrong(tmp_path):
    """
    A directory that can't be used, and half an authority, are errors of one line.
    """
    (tmp_path / "file").write_text("")
    (tmp_path / "half").mkdir()
    (tmp_path / "half/ca.crt").write_text("")

    for directory, words in (("file/below", "Not a directory"), ("half", "ca.key is missing")):
        done = run("issue", tmp_path / directory)
        assert done.exit_code == 1
        assert words in done.output
        assert done.output.count("\n") == 1


def test_inspect_finds_what_does_not_fit(tmp_path):
    """
    A key of another pair, an expired certificate and an unknown signer exit with 1.
    """
    signer = tls.authority(at=tls.now() - dt.timedelta(days=9))
    good = tls.pair_of(signer)
    expired = tls.pair_of(signer, days=1, at=tls.now() - dt.timedelta(days=2))
    stranger = tls.pair_of(tls.authority())
    cases = {
        "belongs to another": (good.certificate_pem, stranger.key_pem),
        "expired at": (expired.certificate_pem, expired.key_pem),
        "signed by no authority": (stranger.certificate_pem, stranger.key_pem),
        "not found": (b"", b""),
        "damaged": (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", b""),
    }
    (tmp_path / "ca.crt").write_bytes(signer.certificate_pem)
    for words, (certificate, key) in cases.items():
        (tmp_path / "tls.crt").write_bytes(certificate)
        (tmp_path / "tls.key").write_bytes(key)
        done = run("inspect", tmp_path)

        assert done.exit_code == 1
        assert "PROBLEM" in done.output
        assert words in done.output
        assert "PRIVATE" not in done.output


def test_inspect_reads_what_kubectl_prints():
    """
    Secrets and webhook configurations are read together, and held against each other.
    """
    signer = tls.authority()
    pair = tls.pair_of(signer)

    def encoded(pem):
        return base64.b64encode(pem).decode()

    objects = [
        {
            "kind": "Secret",
            "metadata": {"namespace": "n", "name": "hook-tls"},
            "data": {"tls.crt": encoded(pair.certificate_pem), "tls.key": encoded(pair.key_pem)},
        },
        {
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "hook"},
            "webhooks": [
                {"name": "enforce", "clientConfig": {"caBundle": encoded(signer.certificate_pem)}}
            ],
        },
    ]
    done = run("inspect", "-", "-o", "json", text=json.dumps({"kind": "List", "items": objects}))
    shown = [json.loads(line) for line in done.output.splitlines()]

    assert done.exit_code == 0, done.output
    assert [
        "Secret n/hook-tls: tls.crt",
        "MutatingWebhookConfiguration hook: caBundle of enforce",
    ] == [one["place"] for one in shown]
    assert shown[0]["trust"] == "signed by an authority given here"
    assert encoded(pair.key_pem) not in done.output


@pytest.mark.parametrize("text", ["", "{", "just words", "[1, 2]", "kind: Secret\ndata: 7\n"])
def test_inspect_says_when_there_is_nothing(text):
    """
    Input that holds no certificate is an error, never a traceback.
    """
    done = run("inspect", "-", text=text)

    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)


async def test_inspect_shows_what_is_served(tmp_path):
    """
    HOST:PORT shows what is served there, held against the authorities given.
    """
    signer = tls.authority()
    pair = tls.pair_of(signer)
    tls.write(tmp_path, pair)
    (tmp_path / "trusted.pem").write_bytes(signer.certificate_pem)
    source = FileSource(tmp_path / "tls.crt", tmp_path / "tls.key")
    source.check()
    async with tls.serving(source.context) as port:
        done = await asyncio.to_thread(
            run, "inspect", f"127.0.0.1:{port}", tmp_path / "trusted.pem"
        )

    assert done.exit_code == 1  # The pair is for a Service, not for this address.
    assert done.output.count("PROBLEM") == 1
    assert source.fingerprint in done.output
    assert "signed by an authority given here" in done.output


@pytest.mark.parametrize(
    "host", ["", "a b", "-x", "a..b", "https://x", "x:1", "x" * 64, "ä.example"]
)
def test_issue_refuses_what_is_no_name(tmp_path, host):
    """
    A host that is neither a DNS name nor an address is named, and nothing is written.
    """
    done = run("issue", tmp_path / "new", "--host", host)

    assert done.exit_code == 2
    assert "neither a DNS name nor an IP address" in " ".join(done.output.split())
    assert not (tmp_path / "new").exists()


def test_issue_takes_names_and_addresses(tmp_path):
    """
    DNS names, wildcards and addresses of both families come out as they were asked for.
    """
    hosts = ("a.example", "*.b.example", "10.0.0.1", "::2", "single")
    done = run("issue", tmp_path, *(word for host in hosts for word in ("--host", host)))

    assert done.exit_code == 0, done.output
    assert all(host in done.output for host in hosts)


@pytest.mark.parametrize(
    ("host", "fits"), [("127.0.0.1", True), ("localhost", True), ("127.0.0.2", False)]
)
async def test_inspect_says_whether_it_is_for_the_name_asked(tmp_path, host, fits):
    """
    A certificate that is served under a name it does not stand for is a problem.
    """
    run("issue", tmp_path, "--host", "LOCALHOST", "--host", "127.0.0.1")
    source = FileSource(tmp_path / "tls.crt", tmp_path / "tls.key")
    source.check()

    async def serve(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=source.context)
    port = server.sockets[0].getsockname()[1]
    done = await asyncio.to_thread(run, "inspect", f"{host}:{port}", tmp_path / "ca.crt")
    server.close()

    assert done.exit_code == (0 if fits else 1), done.output
    assert f"{host}, which it is {'' if fits else 'not '}for" in done.output
