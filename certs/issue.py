"""
A certificate authority and a serving pair in a directory, for development and tests.
"""

import datetime as dt
import os

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from certs.authority import Authority
from certs.bundle import CertificateError, Pair


__all__ = ["Issued", "issue_into"]

_AUTHORITY_LIFETIME: Final = dt.timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Issued:
    """
    What was written.

    Attributes:
        pair: the new serving pair.
        new_authority: whether its authority is new as well; else it was in the directory.
    """

    pair: Pair
    new_authority: bool


def issue_into(
    directory: Path,
    names: Iterable[str],
    addresses: Iterable[IPv4Address | IPv6Address],
    *,
    lifetime: dt.timedelta,
    now: dt.datetime,
    overwrite: bool = False,
) -> Issued:
    """
    Write ``tls.crt`` and ``tls.key``, signed by the authority in ``ca.crt`` and ``ca.key``.

    The authority is made when it isn't there, so that clients that trust it need no change when
    the pair is issued again.  Keys are readable by their owner only.

    Raises:
        CertificateError: there is a pair already and *overwrite* is not set, the authority that
            is there can't be used, or a file can't be read or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not overwrite:
            for name in ("tls.crt", "tls.key"):
                if (directory / name).exists():
                    raise CertificateError(f"{directory / name} exists; --force overwrites it")
        authority = _authority_in(directory, now)
        is_new = authority is None
        if authority is None:
            authority = Authority.create(now=now, lifetime=_AUTHORITY_LIFETIME)
        pair = authority.issue(names, addresses, now=now, lifetime=lifetime)
        if is_new:
            _write(directory / "ca.key", authority.key_pem, mode=0o600)
            _write(directory / "ca.crt", authority.certificate_pem)
        _write(directory / "tls.key", pair.key_pem, mode=0o600)
        _write(directory / "tls.crt", pair.certificate_pem)
    except OSError as error:
        raise CertificateError(f"{error.filename or directory}: {error.strerror}") from None
    return Issued(pair, is_new)


def _authority_in(directory: Path, now: dt.datetime) -> Authority | None:
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if not certificate.exists() and not key.exists():
        return None
    for path in (certificate, key):
        if not path.exists():
            raise CertificateError(f"{path} is missing beside its other half: remove that, too")
    try:
        authority = Authority.parse(certificate.read_bytes(), key.read_bytes())
    except CertificateError as error:
        raise CertificateError(f"{certificate}: {error}") from None
    if now >= authority.certificate.not_valid_after_utc:
        raise CertificateError(f"{certificate} has expired: remove it and {key} for a new one")
    return authority


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """
    Put *content* in place at once, never readable by more than *mode* says.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
