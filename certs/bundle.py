"""
Certificates in PEM: bundles of certificate authorities, and pairs of a chain and its key.
"""

import datetime as dt
import re
import warnings

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


__all__ = [
    "Bundle",
    "CertificateError",
    "Pair",
    "certificates_in",
    "fingerprint",
    "is_authority",
    "is_signed_by",
    "names_of",
]

_BLOCK: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)


class CertificateError(Exception):
    """
    A certificate or a key can't be read, or can't be used for what it is asked to do.

    The message never holds any part of a key.
    """


def certificates_in(pem: bytes) -> tuple[x509.Certificate, ...]:
    """
    Return all certificates of *pem* in their order.

    Raises:
        CertificateError: there is none, or one of them can't be read.
    """
    try:
        with warnings.catch_warnings():
            # What is odd but readable is for the peer to judge.
            warnings.simplefilter("ignore")
            return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        found = "is damaged" if b"-----BEGIN CERTIFICATE" in pem else "was not found"
        raise CertificateError(f"the certificate {found}") from None


def fingerprint(certificate: x509.Certificate) -> str:
    """
    Return the SHA-256 fingerprint as ``openssl x509 -fingerprint -sha256`` writes it.
    """
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def is_authority(certificate: x509.Certificate) -> bool:
    """
    Tell whether *certificate* may sign others.
    """
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.value.ca


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """
    Tell whether *authority* signed *certificate* itself, whatever the dates say.
    """
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """
    Return the DNS names, then the IP addresses, that *certificate* stands for.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return (*names, *map(str, addresses))


@dataclass(frozen=True, slots=True)
class Bundle:
    """
    Certificates that somebody trusts, each once.
    """

    certificates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def of(cls, certificates: Iterable[x509.Certificate]) -> Self:
        """
        Return a bundle of *certificates*, in their order, without repetitions.
        """
        return cls(tuple(dict.fromkeys(certificates)))

    @classmethod
    def salvage(cls, pem: bytes) -> Self:
        """
        Return the certificates of *pem* that can be read; what is damaged is left out.
        """
        found: list[x509.Certificate] = []
        for block in _BLOCK.findall(pem):
            try:
                found += certificates_in(block)
            except CertificateError:
                continue
        return cls.of(found)

    @property
    def pem(self) -> bytes:
        """
        The bundle as PEM; empty for an empty bundle.
        """
        return b"".join(
            certificate.public_bytes(serialization.Encoding.PEM)
            for certificate in self.certificates
        )

    def add(self, *certificates: x509.Certificate) -> Self:
        """
        Return the bundle with *certificates* behind what it has.
        """
        return self.of((*self.certificates, *certificates))

    def without(self, certificate: x509.Certificate) -> Self:
        """
        Return the bundle without *certificate*.
        """
        return self.of(one for one in self.certificates if one != certificate)

    def without_expired(self, now: dt.datetime) -> Self:
        """
        Return what has not expired at *now*.
        """
        return self.of(one for one in self.certificates if now < one.not_valid_after_utc)

    def signer_of(self, certificate: x509.Certificate) -> x509.Certificate | None:
        """
        Return the authority in this bundle that signed *certificate* itself, if any did.
        """
        return next(
            (
                one
                for one in self.certificates
                if is_authority(one) and is_signed_by(certificate, one)
            ),
            None,
        )

    def __contains__(self, certificate: x509.Certificate) -> bool:
        return certificate in self.certificates


@dataclass(frozen=True, slots=True)
class Pair:
    """
    A certificate chain and the private key of its first certificate.

    Attributes:
        chain: the serving certificate, then those that lead to an authority.
        key_pem: the private key, unencrypted.
    """

    chain: tuple[x509.Certificate, ...]
    key_pem: bytes = field(repr=False)

    @classmethod
    def parse(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """
        Return the pair, when both can be read and belong together.

        Raises:
            CertificateError: one can't be read, or the key is another certificate's.
        """
        chain = certificates_in(certificate_pem)
        key = private_key(key_pem)
        if _public(key) != _public(chain[0]):
            raise CertificateError("the key belongs to another certificate")
        return cls(chain, key_pem)

    @property
    def certificate(self) -> x509.Certificate:
        """
        The certificate that is served.
        """
        return self.chain[0]

    @property
    def certificate_pem(self) -> bytes:
        """
        The chain as PEM.
        """
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in self.chain)

    def problem(self, now: dt.datetime) -> str | None:
        """
        Say why the pair is of no use at *now*, or return None when its time is right.
        """
        if now >= self.certificate.not_valid_after_utc:
            return f"expired at {self.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        if now < self.certificate.not_valid_before_utc:
            return f"not valid before {self.certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
        return None


def private_key(pem: bytes) -> PrivateKeyTypes:
    """
    Return the private key in *pem*.

    Raises:
        CertificateError: there is none, or it can't be read without a password.
    """
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise CertificateError("the key is encrypted: it is needed without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the private key was not found, or is damaged") from None


def _public(holder: PrivateKeyTypes | x509.Certificate) -> bytes:
    try:
        return holder.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the key is of a kind that can't be used") from None
