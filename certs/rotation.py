"""
Certificates that look after themselves: what to write next, given what is there.

Two Secrets and the webhook configuration are the whole memory.  `next_step` looks at them and
says what to write, or that nothing is to be done; it reads no clock and writes nothing itself.

- The *authority* Secret holds the authority that signs from now on (``ca.crt``, ``ca.key``), those
  before it whose pairs may still be served (``previous.crt``, no keys), and since when the
  present one is known to be trusted (``trusted-since``).
- The *serving* Secret holds the pair (``tls.crt``, ``tls.key``) and who signed it (``ca.crt``).
- ``caBundle``: the present authority and the previous ones.

Pairs and authorities are renewed when two thirds of their time have passed.  A new authority is
written and trusted first.  It signs when API servers have had time to learn of it, or at once if
the pair that is there is of no use anyway.  The previous ones leave when every pair that they
signed has expired.

How to use it safely, also with two controllers:

1. Read the webhook configuration first, then the serving Secret, then the authority Secret, from
   the API server and not from a cache.
2. Write what the step says, on condition that the object has not changed since it was read
   (``resourceVersion``; for ``caBundle`` a ``test`` on the value that was read).
3. After each write, and after each conflict, begin again at 1, until the step is `Rest`.

Each step rests on what is stored, never on what another step means to write, so a crash or a
conflict between two of them loses nothing.
"""

import datetime as dt

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from certs.authority import Authority, issued_at
from certs.bundle import (
    Bundle,
    CertificateError,
    Pair,
    certificates_in,
    is_authority,
    names_of,
)


__all__ = [
    "Lifetimes",
    "Observed",
    "Rest",
    "Step",
    "WriteAuthority",
    "WriteBundle",
    "WriteServing",
    "next_step",
]

_CA_CERTIFICATE: Final = "ca.crt"
_CA_KEY: Final = "ca.key"
_PREVIOUS: Final = "previous.crt"
_TRUSTED_SINCE: Final = "trusted-since"
_CERTIFICATE: Final = "tls.crt"
_KEY: Final = "tls.key"

# However often the authority is lost, caBundle stays small.
_MAX_PREVIOUS: Final = 8


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """
    How long certificates live.

    Attributes:
        authority: of an authority.
        serving: of a serving pair.
        settling: how long a new authority is trusted before it signs, and how long a new pair
            may take to reach every webhook.

    Raises:
        ValueError: an authority would not outlive the pairs that it signs by far.
    """

    authority: dt.timedelta = dt.timedelta(days=365)
    serving: dt.timedelta = dt.timedelta(days=90)
    settling: dt.timedelta = dt.timedelta(minutes=5)

    def __post_init__(self) -> None:
        if self.authority < 3 * self.serving:
            raise ValueError("an authority has to live three times as long as a serving pair")


@dataclass(frozen=True, slots=True)
class Observed:
    """
    What is there: the data of both Secrets, and ``caBundle`` of each entry of the configuration.
    """

    authority: Mapping[str, bytes] = field(repr=False)
    serving: Mapping[str, bytes] = field(repr=False)
    ca_bundles: Collection[bytes] = ()


@dataclass(frozen=True, slots=True)
class WriteAuthority:
    """
    Set these keys of the authority Secret.
    """

    data: Mapping[str, bytes] = field(repr=False)
    why: str


@dataclass(frozen=True, slots=True)
class WriteServing:
    """
    Set these keys of the serving Secret.
    """

    data: Mapping[str, bytes] = field(repr=False)
    why: str


@dataclass(frozen=True, slots=True)
class WriteBundle:
    """
    Set ``caBundle`` of each entry of the webhook configuration.
    """

    pem: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Rest:
    """
    All is well.

    Attributes:
        until: when the next step is due, if nobody changes anything before.
        not_after: when the serving pair ends.
    """

    until: dt.datetime
    not_after: dt.datetime


Step = WriteAuthority | WriteServing | WriteBundle | Rest


def next_step(
    observed: Observed, *, names: Collection[str], lifetimes: Lifetimes, now: dt.datetime
) -> Step:
    """
    Say what to write next.

    Args:
        observed: what is there, read in the order that the module asks for.
        names: the DNS names that the serving pair has to stand for.
        lifetimes: how long new certificates live.
        now: the wall clock's time, with its zone.

    Whatever *observed* holds, a few steps lead to `Rest`.
    """
    published = [Bundle.salvage(bundle) for bundle in observed.ca_bundles]
    served, useless = _served(observed, names, now)
    previous = _previous(observed, now)
    try:
        authority = _authority(observed, now)
    except CertificateError as error:
        return _new_authority(_salvaged(observed, served, now), lifetimes, now, str(error))

    current = authority.certificate
    previous = previous.without(current)
    trusted = Bundle((current, *previous.certificates))
    if now >= _due(current):
        why = "two thirds of the authority's time have passed"
        return _new_authority(trusted, lifetimes, now, why)
    signer = None if served is None else trusted.signer_of(served.certificate)
    if served is not None and signer is None:
        if published and all(bundle.signer_of(served.certificate) for bundle in published):
            # An old copy of the Secret was put back.
            why = "the one that signed the serving pair is trusted, but not in the Secret"
            return _new_authority(_salvaged(observed, served, now), lifetimes, now, why)
        useless = "it is signed by an authority that is not trusted"

    if now >= _retirement(current, served if signer else None, lifetimes) and signer in {
        None,
        current,
    }:
        previous, trusted = Bundle(), Bundle((current,))
    if previous.pem != observed.authority.get(_PREVIOUS, b""):
        return WriteAuthority(
            {_PREVIOUS: previous.pem}, "previous authorities have no valid pair any more"
        )

    since = _trusted_since(observed, current, now)
    if since is not None and not all(current in bundle for bundle in published):
        return WriteAuthority({_TRUSTED_SINCE: b""}, "caBundle lost the authority")
    if not all(_holds_exactly(pem, trusted) for pem in observed.ca_bundles):
        return WriteBundle(trusted.pem, "caBundle is not what the authority Secret says")

    if served is None or signer is None:
        return _new_pair(authority, names, lifetimes, now, f"a new pair is needed: {useless}")
    if signer != current:
        if since is None:
            return WriteAuthority(
                {_TRUSTED_SINCE: f"{now:%Y-%m-%dT%H:%M:%SZ}".encode()},
                "caBundle holds the new authority",
            )
        if now < since + lifetimes.settling:
            return Rest(since + lifetimes.settling, served.certificate.not_valid_after_utc)
        return _new_pair(authority, names, lifetimes, now, "the authority is new")
    if now >= _due(served.certificate):
        why = "two thirds of the serving pair's time have passed"
        return _new_pair(authority, names, lifetimes, now, why)
    if observed.serving.get(_CA_CERTIFICATE) != authority.certificate_pem:
        return WriteServing(
            {_CA_CERTIFICATE: authority.certificate_pem}, "ca.crt is not the pair's authority"
        )

    events = [_due(current), _due(served.certificate)]
    if previous.certificates:
        events.append(_retirement(current, served, lifetimes))
        events.extend(one.not_valid_after_utc for one in previous.certificates)
    return Rest(min(events), served.certificate.not_valid_after_utc)


def _due(certificate: x509.Certificate) -> dt.datetime:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + (end - start) * 2 / 3


def _authority(observed: Observed, now: dt.datetime) -> Authority:
    """
    Return the authority that may sign.

    Raises:
        CertificateError: there is none, and why.
    """
    certificate, key = (observed.authority.get(name, b"") for name in (_CA_CERTIFICATE, _CA_KEY))
    if not certificate and not key:
        raise CertificateError("there is no authority")
    try:
        authority = Authority.parse(certificate, key)
    except CertificateError as error:
        raise CertificateError(f"the authority can't be used: {error}") from None
    problem = Pair((authority.certificate,), key).problem(now)
    if problem is not None:
        raise CertificateError(f"the authority can't be used: {problem}")
    return authority


def _served(
    observed: Observed, names: Iterable[str], now: dt.datetime
) -> tuple[Pair | None, str | None]:
    """
    Return the pair that is there, if it is of use at all, or else why not.
    """
    certificate, key = (observed.serving.get(name, b"") for name in (_CERTIFICATE, _KEY))
    if not certificate and not key:
        return None, "there is none"
    try:
        pair = Pair.parse(certificate, key)
    except CertificateError as error:
        return None, str(error)
    problem = pair.problem(now)
    if problem is not None:
        return None, problem
    missing = sorted(set(names).difference(names_of(pair.certificate)))
    if missing:
        return None, f"it is not for {', '.join(missing)}"
    return pair, None


def _previous(observed: Observed, now: dt.datetime) -> Bundle:
    return _authorities(Bundle.salvage(observed.authority.get(_PREVIOUS, b"")), now)


def _authorities(bundle: Bundle, now: dt.datetime) -> Bundle:
    return Bundle.of(filter(is_authority, bundle.without_expired(now).certificates))


def _retirement(
    current: x509.Certificate, served: Pair | None, lifetimes: Lifetimes
) -> dt.datetime:
    """
    Return when the last pair of an authority before the *current* one is gone everywhere.
    """
    expired = issued_at(current) + lifetimes.serving + lifetimes.settling
    if served is None:
        return expired
    return max(expired, issued_at(served.certificate) + lifetimes.settling)


def _salvaged(observed: Observed, served: Pair | None, now: dt.datetime) -> Bundle:
    """
    Return what has to stay trusted when the authority Secret was lost or put back.

    Webhooks go on serving what they have in memory, so what API servers trust at the moment is
    kept, and first of all the one that signed the serving pair.
    """
    texts = (
        *(observed.authority.get(name, b"") for name in (_CA_CERTIFICATE, _PREVIOUS)),
        observed.serving.get(_CA_CERTIFICATE, b""),
        *observed.ca_bundles,
    )
    found = _authorities(Bundle.salvage(b"\n".join(texts)), now)
    signer = None if served is None else found.signer_of(served.certificate)
    return found if signer is None else Bundle((signer,)).add(*found.certificates)


def _new_authority(
    kept: Bundle, lifetimes: Lifetimes, now: dt.datetime, why: str
) -> WriteAuthority:
    authority = Authority.create(now=now, lifetime=lifetimes.authority)
    return WriteAuthority(
        {
            _CA_CERTIFICATE: authority.certificate_pem,
            _CA_KEY: authority.key_pem,
            _PREVIOUS: Bundle(kept.certificates[:_MAX_PREVIOUS]).pem,
            _TRUSTED_SINCE: b"",
        },
        f"a new authority is needed: {why}",
    )


def _new_pair(
    authority: Authority,
    names: Iterable[str],
    lifetimes: Lifetimes,
    now: dt.datetime,
    why: str,
) -> WriteServing:
    pair = authority.issue(names, now=now, lifetime=lifetimes.serving)
    return WriteServing(
        {
            _CERTIFICATE: pair.certificate_pem,
            _KEY: pair.key_pem,
            _CA_CERTIFICATE: authority.certificate_pem,
        },
        why,
    )


def _trusted_since(
    observed: Observed, current: x509.Certificate, now: dt.datetime
) -> dt.datetime | None:
    """
    Return since when API servers know the *current* authority, if that is on record.
    """
    try:
        since = dt.datetime.fromisoformat(observed.authority.get(_TRUSTED_SINCE, b"").decode())
    except ValueError:
        return None
    if since.tzinfo is None or not current.not_valid_before_utc <= since <= now:
        return None
    return since


def _holds_exactly(pem: bytes, bundle: Bundle) -> bool:
    try:
        return set(certificates_in(pem)) == set(bundle.certificates)
    except CertificateError:
        return False
