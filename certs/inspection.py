"""
Look at certificates wherever they are: files, dumps of Kubernetes objects, a server that answers.
"""

import base64
import binascii
import datetime as dt
import re
import socket
import ssl
import sys

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import yaml

from cryptography import x509

from certs.bundle import (
    Bundle,
    CertificateError,
    Pair,
    certificates_in,
    fingerprint,
    is_authority,
    names_of,
)


__all__ = ["Finding", "Material", "collect", "judge"]

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<host>[^/:\s]+)):(?P<port>\d{1,5})"
)
_HANDSHAKE_SECONDS: Final = 10
# Which key belongs to which certificate, in directories and in Secrets alike.
_KEY_OF: Final = {"tls.crt": "tls.key", "ca.crt": "ca.key"}
_CERTIFICATES: Final = ("tls.crt", "ca.crt", "previous.crt")


@dataclass(frozen=True, slots=True)
class Material:
    """
    What was found in one place: certificates, or what should be some, and perhaps a key.

    `asked_for` is the name or address that a client would hold a served certificate against.
    """

    place: str
    certificate_pem: bytes
    key_pem: bytes | None = field(default=None, repr=False)
    retired: bool = False
    asked_for: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What is to be said of one certificate, or of a place where none could be read.
    """

    place: str
    facts: Mapping[str, str]
    problems: tuple[str, ...]


def collect(target: str) -> Iterator[Material]:
    """
    Yield what *target* holds: ``HOST:PORT``, a directory, a file, or ``-`` for standard input.

    A file holds PEM, or objects as ``kubectl get -o yaml`` or ``-o json`` writes them: Secrets
    and webhook configurations.

    Raises:
        CertificateError: it can't be read or reached, or holds nothing of that kind.
    """
    address = _ADDRESS.fullmatch(target)
    if address is not None and not Path(target).exists():
        host = address["ipv6"] or address["host"]
        served = _served_by(host, int(address["port"]))
        yield Material(target, served, asked_for=host)
        return
    try:
        if Path(target).is_dir():
            found = [*_named(target, _Directory(Path(target)))]
        else:
            content = sys.stdin.buffer.read() if target == "-" else Path(target).read_bytes()
            found = [*_in_file("standard input" if target == "-" else target, content)]
    except OSError as error:
        raise CertificateError(f"{target}: {error.strerror}") from None
    if not found:
        raise CertificateError(f"{target}: holds no certificate, Secret or webhook configuration")
    yield from found


def judge(materials: Iterable[Material], now: dt.datetime) -> list[Finding]:
    """
    Say what each certificate is, and what is wrong with it at *now*.

    All authorities among *materials* count as trusted; when there are none, who signed what is
    not judged.
    """
    materials = list(materials)
    authorities = Bundle.of(
        one
        for material in materials
        for one in Bundle.salvage(material.certificate_pem).certificates
        if is_authority(one)
    )
    return [finding for material in materials for finding in _findings(material, authorities, now)]


def _findings(material: Material, authorities: Bundle, now: dt.datetime) -> Iterator[Finding]:
    try:
        chain = certificates_in(material.certificate_pem)
    except CertificateError as error:
        yield Finding(material.place, {}, (str(error),))
        return
    for position, certificate in enumerate(chain):
        facts, problems = _facts(certificate, authorities, now)
        if material.retired:
            problems = []
        if position == 0 and material.key_pem is not None:
            try:
                Pair.parse(material.certificate_pem, material.key_pem)
                facts["key"] = "belongs to it"
            except CertificateError as error:
                facts["key"] = "does not fit"
                problems.append(str(error))
        if position == 0 and material.asked_for:
            fits = _stands_for(names_of(certificate), material.asked_for)
            asked = _printable(material.asked_for)
            facts["asked for"] = f"{asked}, which it is {'' if fits else 'not '}for"
            if not fits:
                problems.append(f"it is not for {asked}")
        yield Finding(material.place, facts, tuple(problems))


def _stands_for(names: Iterable[str], wanted: str) -> bool:
    """
    Tell whether a client that asks for *wanted* takes a certificate with these *names* (RFC 9525).
    """
    try:
        address = str(ip_address(wanted))
    except ValueError:
        name = wanted.rstrip(".").lower()
        parent = name.partition(".")[2]
        return any(held.lower() in {name, f"*.{parent}" if parent else name} for held in names)
    return address in names


def _facts(
    certificate: x509.Certificate, authorities: Bundle, now: dt.datetime
) -> tuple[dict[str, str], list[str]]:
    problem = Pair((certificate,), b"").problem(now)
    problems = [] if problem is None else [problem]
    left = certificate.not_valid_after_utc - now
    facts = {
        "kind": "authority" if is_authority(certificate) else "serving certificate",
        "subject": certificate.subject.rfc4514_string() or "(empty)",
        "names": ", ".join(names_of(certificate)) or "(none)",
        "signed by": certificate.issuer.rfc4514_string() or "(empty)",
        "from": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "until": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "left": f"{left.days} days {left.seconds // 3600} hours" if problem is None else "none",
        "sha-256": fingerprint(certificate),
    }
    if is_authority(certificate):
        del facts["names"]
    elif authorities.certificates:
        signer = authorities.signer_of(certificate)
        facts["trust"] = "signed by an authority given here"
        if signer is None:
            facts["trust"] = "signed by no authority given here"
            problems.append(facts["trust"])
    return {name: _printable(value) for name, value in facts.items()}, problems


def _printable(text: str) -> str:
    # A stranger's certificate may name itself with what a terminal obeys.
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def _served_by(host: str, port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # To see what is served is the point, above all when it is not to be trusted.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_HANDSHAKE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            return ssl.DER_cert_to_PEM_cert(
                connection.getpeercert(binary_form=True) or b""
            ).encode()
    except (OSError, OverflowError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CertificateError(f"{host}:{port}: no TLS handshake: {why}") from None


class _Directory(dict[str, bytes]):
    """
    The files of a directory that may hold certificates, by name.
    """

    def __init__(self, directory: Path) -> None:
        wanted = {*_CERTIFICATES, *_KEY_OF.values()}
        super().__init__(
            (path.name, path.read_bytes()) for path in directory.iterdir() if path.name in wanted
        )


def _in_file(place: str, content: bytes) -> Iterator[Material]:
    if b"-----BEGIN" in content:
        key = content if b"PRIVATE KEY-----" in content else None
        yield Material(place, content, key)
        return
    try:
        documents = list(yaml.load_all(content, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        raise CertificateError(f"{place}: neither PEM nor YAML nor JSON") from None
    for document in documents:
        yield from _in_object(document)


def _in_object(thing: Any) -> Iterator[Material]:
    if not isinstance(thing, dict):
        return
    for item in _list(thing.get("items")):
        yield from _in_object(item)
    metadata = thing.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))
    place = f"{thing.get('kind')} {name}"
    if thing.get("kind") == "Secret":
        data = thing.get("data")
        decoded = {
            str(key): _decoded(value)
            for key, value in (data if isinstance(data, dict) else {}).items()
        }
        if not decoded:
            yield Material(f"{place}: empty", b"")
        yield from _named(place, decoded)
    for hook in _list(thing.get("webhooks")):
        config = hook.get("clientConfig") if isinstance(hook, dict) else None
        if isinstance(config, dict):
            bundle = _decoded(config.get("caBundle"))
            yield Material(f"{place}: caBundle of {hook.get('name')}", bundle)


def _named(place: str, contents: Mapping[str, bytes]) -> Iterator[Material]:
    for name in _CERTIFICATES:
        retired = name == "previous.crt"
        if name not in contents or (retired and not contents[name]):
            continue
        key = contents.get(_KEY_OF.get(name, ""))
        if name == "tls.crt" and key is None:
            key = b""
        yield Material(f"{place}: {name}", contents[name], key, retired)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(str(value or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""
