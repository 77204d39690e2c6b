"""
The CA and the certificate of a Harbor that has no public one.
"""

import datetime as dt
import ipaddress

from pathlib import Path
from typing import Final

from certs.authority import Authority, issued_at
from certs.bundle import CertificateError, Pair, is_signed_by, names_of
from webhook.config import Config
from webhook.errors import RenderError
from webhook.render.files import File
from webhook.render.templating import public_host, template


__all__ = ["certificates"]

_AUTHORITY_YEARS: Final = 10
_PAIR_DAYS: Final = 825
"""
The longest that clients of all kinds take.
"""
# Renewed at two thirds, which leaves months for it to be noticed.
_RENEWED_AT: Final = 2 / 3


def certificates(config: Config, folder: Path, now: dt.datetime | None = None) -> tuple[File, ...]:
    """
    Return the files of a CA and a serving pair, built on those that *folder* already holds.

    The CA stays as long as it is there, since every node trusts it.  The pair stays until two
    thirds of its time are over, provided that this CA made it out to Harbor's name.

    Raises:
        ConfigError: Harbor's URL is plain HTTP.
        RenderError: a CA is there, and can't be read or used.
    """
    now = now or dt.datetime.now(dt.UTC)
    host, _ = public_host(config)
    authority = _authority(folder, now)
    pair = _pair(folder, authority, host, now) or _issue(authority, host, now)
    values = {
        "url": config.harbor.url,
        "pair_days": _PAIR_DAYS,
        "authority_years": _AUTHORITY_YEARS,
    }
    return (
        File("ca.key", authority.key_pem.decode(), private=True, kept=True),
        File("ca.crt", authority.certificate_pem.decode(), kept=True),
        File("harbor.key", pair.key_pem.decode(), private=True),
        File("harbor.crt", pair.certificate_pem.decode()),
        File("README.md", template("certs/README.md", **values)),
        File(".gitignore", template("certs/.gitignore", **values)),
    )


def _authority(folder: Path, now: dt.datetime) -> Authority:
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if not certificate.exists() and not key.exists():
        return Authority.create(now=now, lifetime=dt.timedelta(days=365 * _AUTHORITY_YEARS))
    for path, other in ((certificate, key), (key, certificate)):
        if not path.exists():
            raise RenderError(f"{path}: is missing, and {other.name} is of no use without it")
    try:
        return Authority.parse(certificate.read_bytes(), key.read_bytes())
    except CertificateError as error:
        raise RenderError(f"{certificate}: {error}") from error
    except OSError as error:
        raise RenderError(f"{error.filename}: {error.strerror}") from error


def _pair(folder: Path, authority: Authority, host: str, now: dt.datetime) -> Pair | None:
    """
    Return the pair in *folder* if it is still the right one.
    """
    try:
        pair = Pair.parse(
            (folder / "harbor.crt").read_bytes(), (folder / "harbor.key").read_bytes()
        )
    except (OSError, CertificateError):
        return None
    start, end = issued_at(pair.certificate), pair.certificate.not_valid_after_utc
    right = (
        now < start + (end - start) * _RENEWED_AT
        and host in names_of(pair.certificate)
        and is_signed_by(pair.certificate, authority.certificate)
    )
    return pair if right else None


def _issue(authority: Authority, host: str, now: dt.datetime) -> Pair:
    lifetime = dt.timedelta(days=_PAIR_DAYS)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        names, addresses = [host], []
    else:
        names, addresses = [], [address]
    try:
        return authority.issue(names, addresses, now=now, lifetime=lifetime)
    except CertificateError as error:
        raise RenderError(f"ca.crt: {error}; delete it and ca.key for a new CA") from error
