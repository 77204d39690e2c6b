"""
A serving pair in files, read again when they change.
"""

import datetime as dt
import ssl
import time

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from certs.bundle import CertificateError, Pair, fingerprint
from certs.context import ExchangeableContext


__all__ = ["Check", "FileSource", "Outcome"]

# A Secret holds 1 MiB at most.
_MAX_SIZE: Final = 1 << 20
_MAX_READS: Final = 5


class Outcome(StrEnum):
    """
    What a look at the files came to.
    """

    UNCHANGED = "unchanged"
    """They are as at the last look, good or bad."""
    LOADED = "loaded"
    """New connections get what they hold now."""
    REFUSED = "refused"
    """They changed and can't be used; what was served before still is."""


@dataclass(frozen=True, slots=True)
class Check:
    """
    The result of one look at the files.

    Attributes:
        outcome: what it came to.
        detail: one line for the log: what was loaded, or why it was refused.  Empty if unchanged.
        is_alarming: whether somebody should look: a refusal, or a pair that is served although
            its time is over.
    """

    outcome: Outcome
    detail: str = ""
    is_alarming: bool = False


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _uptime() -> float:
    """
    Return seconds by a clock that nobody sets; on Linux it goes on while the machine sleeps.
    """
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class FileSource:
    """
    A pair in two files: mounted from a Secret, or written by hand.

    Nothing happens by itself: call `check` at the start and every few seconds.  It reads disks,
    so an event loop calls it in a thread.  One call at a time.

    The context can serve before there is a pair: handshakes are refused until `check` has found
    one.  A pair whose time is over is served when there is nothing better: a webhook that starts
    can be asked what is wrong, and its own clock may be the one that is wrong.

    So a pair that was found good stays good for as long as its certificate had left, however the
    wall clock is set meanwhile: *uptime* counts the seconds.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        clock: Callable[[], dt.datetime] = _utc_now,
        uptime: Callable[[], float] = _uptime,
    ) -> None:
        self._certificate: Final = certificate
        self._key: Final = key
        self._clock: Final = clock
        self._uptime: Final = uptime
        self._good_until = float("-inf")
        self._exchangeable: Final = ExchangeableContext()
        self._loaded: tuple[bytes, bytes] | None = None
        self._refusal: tuple[tuple[bytes, bytes] | None, str] | None = None
        self._problem: str | None = "not read yet"

    @property
    def context(self) -> ssl.SSLContext:
        """
        The context for the server, the same one for good.
        """
        return self._exchangeable.outer

    @property
    def served(self) -> Pair | None:
        """
        The pair that new connections get, or None while there is none.
        """
        return self._exchangeable.pair

    @property
    def problem(self) -> str | None:
        """
        Why the files as they are now are not what is served, or None when they are.
        """
        return self._problem

    @property
    def ready(self) -> bool:
        """
        Whether a pair is served that has not expired, by the wall clock or by what it had left.
        """
        pair = self.served
        if pair is None:
            return False
        unexpired = self._clock() < pair.certificate.not_valid_after_utc
        return unexpired or self._uptime() < self._good_until

    @property
    def not_after(self) -> float | None:
        """
        When the served certificate ends, in seconds since 1970.
        """
        pair = self.served
        return None if pair is None else pair.certificate.not_valid_after_utc.timestamp()

    @property
    def fingerprint(self) -> str | None:
        """
        The SHA-256 fingerprint of the served certificate.
        """
        pair = self.served
        return None if pair is None else fingerprint(pair.certificate)

    @property
    def issuer(self) -> str | None:
        """
        Who signed the served certificate, as a distinguished name.
        """
        pair = self.served
        return None if pair is None else pair.certificate.issuer.rfc4514_string()

    def check(self) -> Check:
        """
        Look at the files, and serve what they hold if it is new and good.

        Never raises for what the files hold, or for files that are not there.
        """
        try:
            contents = self._read()
        except CertificateError as error:
            return self._refused(None, str(error))
        if contents == self._loaded:
            self._problem = self._refusal = None
            self._note_time_left()
            return Check(Outcome.UNCHANGED)
        try:
            pair = Pair.parse(*contents)
            problem = pair.problem(self._clock())
            if problem is None or not self.ready:
                self._exchangeable.exchange(pair)
        except CertificateError as error:
            return self._refused(contents, f"{self._certificate}: {error}")
        if self.served is not pair:
            return self._refused(contents, f"{self._certificate}: {problem}")
        self._loaded = contents
        self._problem = self._refusal = None
        self._good_until = float("-inf")
        self._note_time_left()
        detail = f"serving {self.fingerprint}, signed by {self.issuer}"
        if problem is not None:
            return Check(Outcome.LOADED, f"{detail}, which {problem}", is_alarming=True)
        return Check(Outcome.LOADED, detail)

    def _note_time_left(self) -> None:
        pair, now = self.served, self._clock()
        if pair is not None and pair.problem(now) is None:
            left = pair.certificate.not_valid_after_utc - now
            self._good_until = self._uptime() + left.total_seconds()

    def _refused(self, contents: tuple[bytes, bytes] | None, why: str) -> Check:
        # Looked at again each time, for a pair that starts later, but spoken of once.
        if (contents, why) == self._refusal:
            return Check(Outcome.UNCHANGED)
        self._refusal = (contents, why)
        self._problem = why
        return Check(Outcome.REFUSED, why, is_alarming=True)

    def _read(self) -> tuple[bytes, bytes]:
        """
        Return both files as they were at one moment.

        The kubelet exchanges the files of a Secret at once; a look from before and after that
        is taken again.
        """
        certificate = _content(self._certificate)
        for _ in range(_MAX_READS):
            key = _content(self._key)
            again = _content(self._certificate)
            if again == certificate:
                return certificate, key
            certificate = again
        raise CertificateError(f"{self._certificate}: changes while it is read")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror or error}") from None
    if len(content) > _MAX_SIZE:
        raise CertificateError(f"{path}: larger than 1 MiB")
    return content
