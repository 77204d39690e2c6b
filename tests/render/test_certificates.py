import datetime as dt
import ssl

import pytest

from certs.bundle import Pair, is_signed_by, names_of
from webhook.errors import ConfigError, RenderError
from webhook.render import certificates, write


_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def issue(tmp_path, config):
    """
    Render the certificates into one folder, as often as asked, at a given day.
    """

    def make(day=0, more=""):
        made = certificates(config(more), tmp_path, _NOW + dt.timedelta(days=day))
        write(made, tmp_path, force=True)
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    return make


def test_a_ca_and_a_pair(issue):
    """
    The pair is signed by the CA, made out to Harbor's name, and the keys are private.
    """
    found = issue()

    pair = Pair.parse(found["harbor.crt"], found["harbor.key"])
    authority = Pair.parse(found["ca.crt"], found["ca.key"])
    assert ("harbor-cache.example.com",) == names_of(pair.certificate)
    assert is_signed_by(pair.certificate, authority.certificate)


def test_openssl_takes_them(issue, tmp_path):
    """
    A TLS server takes the pair, and a client the CA.
    """
    issue()

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "harbor.crt", tmp_path / "harbor.key")
    client = ssl.create_default_context(cafile=tmp_path / "ca.crt")

    assert 1 == len(client.get_ca_certs())


def test_keys_are_private(issue, tmp_path):
    """
    Both keys have mode 0600.
    """
    issue()

    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("ca.key", "harbor.key")]
    assert [0o600, 0o600] == modes


def test_rendering_again_keeps_all(issue):
    """
    A second rendering with force changes no byte.
    """
    assert issue() == issue(day=400)


def test_the_pair_is_renewed_and_the_ca_stays(issue):
    """
    After two thirds of its time the pair is made anew, and the CA that all trust stays.
    """
    before, after = issue(), issue(day=600)

    assert before["ca.crt"] == after["ca.crt"]
    assert before["ca.key"] == after["ca.key"]
    assert before["harbor.crt"] != after["harbor.crt"]


def test_another_ca_gets_another_pair(issue, tmp_path):
    """
    When the CA was deleted, the pair of the old one is not left beside the new one.
    """
    issue()
    (tmp_path / "ca.crt").unlink()
    (tmp_path / "ca.key").unlink()

    found = issue()

    pair = Pair.parse(found["harbor.crt"], found["harbor.key"])
    authority = Pair.parse(found["ca.crt"], found["ca.key"])
    assert is_signed_by(pair.certificate, authority.certificate)


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_half_a_ca(issue, tmp_path, name):
    """
    A CA without its key, or a key without its CA, is an error that names what is missing.
    """
    issue()
    (tmp_path / name).unlink()

    with pytest.raises(RenderError, match=rf"{name}: is missing"):
        issue()


def test_a_damaged_ca(issue, tmp_path):
    """
    A CA that can't be read is an error, and is not replaced.
    """
    issue()
    (tmp_path / "ca.key").write_text("no key")

    with pytest.raises(RenderError, match=r"ca\.crt: the private key was not found"):
        issue()

    assert "no key" == (tmp_path / "ca.key").read_text()


def test_an_address(tmp_path, config):
    """
    A Harbor that is known by its address gets a certificate for that address.
    """
    more = config().model_copy(
        update={"harbor": config().harbor.model_copy(update={"url": "https://192.0.2.7:8443"})}
    )

    write(certificates(more, tmp_path, _NOW), tmp_path, force=False)

    pair = Pair.parse(
        (tmp_path / "harbor.crt").read_bytes(), (tmp_path / "harbor.key").read_bytes()
    )
    assert ("192.0.2.7",) == names_of(pair.certificate)


def test_plain_http(tmp_path, config):
    """
    Where Harbor's URL is plain HTTP there is nothing to make a certificate for.
    """
    plain = config().model_copy(
        update={"harbor": config().harbor.model_copy(update={"url": "http://harbor.example.com"})}
    )

    with pytest.raises(ConfigError, match=r"harbor\.url"):
        certificates(plain, tmp_path)
