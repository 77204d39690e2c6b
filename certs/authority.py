"""
A certificate authority that signs serving pairs.

All keys are ECDSA on P-256: every API server takes them, and a handshake costs little.
"""

import datetime as dt

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.bundle import CertificateError, Pair, is_authority, private_key


__all__ = ["Authority", "backdating", "issued_at", "service_names"]

_ORGANISATION: Final = "harbor-cache-webhook"
_MAX_BACKDATING: Final = dt.timedelta(hours=1)
# RFC 5280, appendix A.1: ub-common-name.
_MAX_COMMON_NAME: Final = 64


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """
    Return the names of a Service; API servers ask for ``<service>.<namespace>.svc``.
    """
    return (
        service,
        f"{service}.{namespace}",
        f"{service}.{namespace}.svc",
        f"{service}.{namespace}.svc.cluster.local",
    )


def backdating(lifetime: dt.timedelta) -> dt.timedelta:
    """
    Return how long before its making a certificate starts, for peers whose clocks are behind.

    That is an hour, and less for certificates that live less than ten hours: a certificate is
    renewed by the share of its time that has passed, so what comes before its making must be
    small.
    """
    return min(_MAX_BACKDATING, lifetime / 10)


def issued_at(certificate: x509.Certificate) -> dt.datetime:
    """
    Return when an `Authority` made *certificate*, to the second: its start without backdating.
    """
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + min(_MAX_BACKDATING, (end - start) / 11)


@dataclass(frozen=True, slots=True)
class Authority:
    """
    A certificate authority with its key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, *, now: dt.datetime, lifetime: dt.timedelta) -> Self:
        """
        Make a new authority that ends *lifetime* after *now*.

        It may sign serving certificates, and no further authorities.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        # A subject of its own for each: a peer that holds two never confuses them.
        name = _name(f"{_ORGANISATION} CA {serial % 2**32:08x}")
        certificate = (
            _builder(
                subject=name,
                issuer=name,
                key=key.public_key(),
                serial=serial,
                now=now,
                lifetime=lifetime,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def parse(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """
        Read an authority that was written before.

        Raises:
            CertificateError: one can't be read, both don't belong together, the certificate is
                no authority's, or the key is none on an elliptic curve.
        """
        pair = Pair.parse(certificate_pem, key_pem)
        if not is_authority(pair.certificate):
            raise CertificateError("the certificate is not one of an authority")
        key = private_key(key_pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError("the authority's key is not an elliptic curve key")
        return cls(pair.certificate, key)

    @property
    def certificate_pem(self) -> bytes:
        """
        The authority's certificate as PEM.
        """
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """
        The authority's private key as PEM, unencrypted.
        """
        return _key_pem(self.key)

    def issue(
        self,
        names: Iterable[str],
        addresses: Iterable[IPv4Address | IPv6Address] = (),
        *,
        now: dt.datetime,
        lifetime: dt.timedelta,
    ) -> Pair:
        """
        Make a serving pair for DNS *names* and IP *addresses*, with a key of its own.

        It ends *lifetime* after *now*, but never after the authority itself.

        Raises:
            CertificateError: there is neither a name nor an address, a name is no DNS name, or
                the authority has expired.
        """
        names = tuple(dict.fromkeys(names))
        try:
            alternatives = [
                *map(x509.DNSName, names),
                *map(x509.IPAddress, dict.fromkeys(addresses)),
            ]
        except ValueError:
            raise CertificateError("a name is no DNS name") from None
        if not alternatives:
            raise CertificateError("a serving certificate needs a name or an address")
        lifetime = min(lifetime, self.certificate.not_valid_after_utc - now)
        if lifetime <= dt.timedelta():
            raise CertificateError("the authority has expired")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name((names[0] if names else str(alternatives[0].value))[:_MAX_COMMON_NAME])
        certificate = (
            _builder(
                subject=subject,
                issuer=self.certificate.subject,
                key=key.public_key(),
                serial=x509.random_serial_number(),
                now=now,
                lifetime=lifetime,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
            )
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        return Pair((certificate,), _key_pem(key))


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    now: dt.datetime,
    lifetime: dt.timedelta,
) -> x509.CertificateBuilder:
    # X.509 counts in whole seconds.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before((now - backdating(lifetime)).replace(microsecond=0))
        .not_valid_after((now + lifetime).replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
