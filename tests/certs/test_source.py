import datetime as dt
import ssl

from pathlib import Path

import pytest

from certs.bundle import fingerprint
from certs.source import FileSource, Outcome
from tests.support import tls


@pytest.fixture
def source(tmp_path):
    return FileSource(tmp_path / "tls.crt", tmp_path / "tls.key")


async def test_starts_without_files(source):
    """
    A server can start before there is a pair: handshakes fail, and it is not ready.
    """
    check = source.check()
    async with tls.serving(source.context) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with tls.connected(port, tls.trusting(tls.authority().certificate_pem)):
                pass

    assert (check.outcome, source.ready, source.not_after) == (Outcome.REFUSED, False, None)
    assert "tls.crt: No such file" in check.detail


async def test_serves_what_comes_later(source, tmp_path):
    """
    A pair that appears while the server runs is served from the next handshake on.
    """
    signer = tls.authority()
    pair = tls.pair_of(signer)
    async with tls.serving(source.context) as port:
        source.check()
        tls.write(tmp_path, pair)
        check = source.check()
        async with tls.connected(port, tls.trusting(signer.certificate_pem)) as connection:
            assert pair.certificate == connection.certificate
            assert await connection.echoes()

    assert (check.outcome, check.is_alarming, source.ready) == (Outcome.LOADED, False, True)
    assert pair.certificate.not_valid_after_utc.timestamp() == source.not_after
    assert fingerprint(pair.certificate) == source.fingerprint


def test_says_a_thing_once(source, tmp_path):
    """
    A second look at the same files, good or bad, reports nothing.
    """
    source.check()
    missing = source.check()
    tls.write(tmp_path, tls.pair_of(tls.authority()))
    source.check()
    good = source.check()
    (tmp_path / "tls.key").write_bytes(b"")
    source.check()
    bad = source.check()

    assert [missing.outcome, good.outcome, bad.outcome] == [Outcome.UNCHANGED] * 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_exchanges_under_open_connections(source, tmp_path, version):
    """
    An exchange reaches new connections alone; those that are open go on.
    """
    signer = tls.authority()
    first, second = tls.pair_of(signer), tls.pair_of(signer)
    client = tls.trusting(signer.certificate_pem, version=version)
    tls.write(tmp_path, first)
    source.check()
    async with (
        tls.serving(source.context) as port,
        tls.connected(port, client) as old,
    ):
        tls.write(tmp_path, second)
        source.check()
        async with tls.connected(port, client) as new:
            assert await old.echoes()
            assert await new.echoes()
            assert (first.certificate, second.certificate) == (old.certificate, new.certificate)


BAD_PAIRS = {
    "empty": lambda signer: (b"", b""),
    "garbage": lambda signer: (b"\x00garbage", b"\xff"),
    "damaged certificate": lambda signer: (
        tls.pair_of(signer).certificate_pem.replace(b"MII", b"MIJ", 1),
        tls.pair_of(signer).key_pem,
    ),
    "mismatch": lambda signer: (tls.pair_of(signer).certificate_pem, tls.pair_of(signer).key_pem),
    "no key": lambda signer: (tls.pair_of(signer).certificate_pem, b""),
    "swapped": lambda signer: (tls.pair_of(signer).key_pem, tls.pair_of(signer).certificate_pem),
    "too large": lambda signer: (b"\n" * (1 << 20) + b"\n", tls.pair_of(signer).key_pem),
    "expired": lambda signer: _both(
        tls.pair_of(signer, days=1, at=tls.now() - dt.timedelta(days=2))
    ),
    "not valid yet": lambda signer: _both(
        tls.pair_of(signer, at=tls.now() + dt.timedelta(days=2))
    ),
}


def _both(pair):
    return pair.certificate_pem, pair.key_pem


@pytest.mark.parametrize("kind", BAD_PAIRS)
async def test_bad_pair_is_refused(source, tmp_path, kind):
    """
    A pair that can't be used is refused with a reason, and the last good one keeps serving.
    """
    signer = tls.authority()
    good = tls.pair_of(signer)
    tls.write(tmp_path, good)
    source.check()
    certificate, key = BAD_PAIRS[kind](signer)
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(key)
    check = source.check()

    assert (check.outcome, check.is_alarming) == (Outcome.REFUSED, True)
    assert source.problem == check.detail
    assert "PRIVATE" not in check.detail
    async with tls.serving(source.context) as port:
        client = tls.trusting(signer.certificate_pem)
        for _ in range(3):
            async with tls.connected(port, client) as connection:
                assert good.certificate == connection.certificate

    tls.write(tmp_path, good)
    assert source.check().outcome == Outcome.UNCHANGED
    assert source.problem is None


def test_pair_that_starts_later_is_taken_then(tmp_path):
    """
    A refused pair is looked at again, and taken when its time has come.
    """
    signer = tls.authority()
    clock = [tls.now()]
    source = FileSource(tmp_path / "tls.crt", tmp_path / "tls.key", clock=lambda: clock[0])
    tls.write(tmp_path, tls.pair_of(signer))
    source.check()
    tls.write(tmp_path, tls.pair_of(signer, at=clock[0] + dt.timedelta(days=2)))
    refused = source.check()
    clock[0] += dt.timedelta(days=3)

    assert (refused.outcome, source.check().outcome) == (Outcome.REFUSED, Outcome.LOADED)


@pytest.mark.parametrize("days", [2, 18_000, -2, -18_000])
def test_clock_that_is_set_takes_no_good_pair_away(tmp_path, days):
    """
    A pair found good stays so for the time that it had left, wherever the wall clock is set.
    """
    right, uptime = tls.now(), [0.0]
    clock = [right]
    source = FileSource(
        tmp_path / "tls.crt",
        tmp_path / "tls.key",
        clock=lambda: clock[0],
        uptime=lambda: uptime[0],
    )
    tls.write(tmp_path, tls.pair_of(tls.authority(at=right), days=1, at=right))
    source.check()
    clock[0] = right + dt.timedelta(days=days)
    look = source.check()
    ready = [source.ready]
    uptime[0] = dt.timedelta(days=1).total_seconds() + 1
    clock[0] = right + dt.timedelta(seconds=uptime[0])
    source.check()
    ready.append(source.ready)

    assert (look.outcome, ready) == (Outcome.UNCHANGED, [True, False])


async def test_expired_pair_is_served_when_there_is_no_other(source, tmp_path):
    """
    A webhook that starts with an expired pair serves it, says so loudly, and is not ready.
    """
    signer = tls.authority(at=tls.now() - dt.timedelta(days=10))
    expired = tls.pair_of(signer, days=1, at=tls.now() - dt.timedelta(days=2))
    tls.write(tmp_path, expired)
    check = source.check()

    assert (check.outcome, check.is_alarming, source.ready) == (Outcome.LOADED, True, False)
    assert "expired at" in check.detail
    async with tls.serving(source.context) as port:
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        async with tls.connected(port, blind) as connection:
            assert expired.certificate == connection.certificate
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            async with tls.connected(port, tls.trusting(signer.certificate_pem)):
                pass


def test_follows_the_kubelet(tmp_path):
    """
    A Secret volume is exchanged as the kubelet does it: one symbolic link is replaced.
    """
    signer = tls.authority()
    first, second = tls.pair_of(signer), tls.pair_of(signer)
    for name, pair in (("..1", first), ("..2", second)):
        (tmp_path / name).mkdir()
        tls.write(tmp_path / name, pair)
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    source = FileSource(tmp_path / "tls.crt", tmp_path / "tls.key")
    source.check()
    before = source.served
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    check = source.check()

    assert (Outcome.LOADED, first, second) == (check.outcome, before, source.served)


async def test_needs_no_server_name(source, tmp_path):
    """
    A client that names no server gets the pair as well.
    """
    signer = tls.authority()
    pair = tls.pair_of(signer)
    tls.write(tmp_path, pair)
    source.check()
    client = tls.trusting(signer.certificate_pem)
    client.check_hostname = False
    async with (
        tls.serving(source.context) as port,
        tls.connected(port, client, host="") as connection,
    ):
        assert pair.certificate == connection.certificate


async def test_speaks_http_1_1_over_tls_1_2_or_newer(source, tmp_path):
    """
    HTTP/1.1 is chosen where HTTP/2 is offered, too, and older TLS is not spoken.
    """
    signer = tls.authority()
    tls.write(tmp_path, tls.pair_of(signer))
    source.check()
    client = tls.trusting(signer.certificate_pem)
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        tls.serving(source.context) as port,
        tls.connected(port, client) as connection,
    ):
        assert connection.tls.selected_alpn_protocol() == "http/1.1"

    assert ssl.TLSVersion.TLSv1_2 == source.context.minimum_version
