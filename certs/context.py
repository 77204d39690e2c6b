"""
A server's TLS context whose pair can be exchanged while it serves.
"""

import os
import ssl
import tempfile

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from certs.bundle import CertificateError, Pair


__all__ = ["ExchangeableContext"]

# The API server speaks HTTP/2 to webhooks only where they offer it; one connection per request
# in flight is easier to drain.
_PROTOCOLS: Final = ["http/1.1"]


class ExchangeableContext:
    """
    A context that a server keeps for good, and behind it the pair that new connections get.

    `ssl.SSLContext.load_cert_chain` on a context in use breaks every later handshake when the
    pair does not match.  So each pair is loaded into a fresh context, and the outer one, which
    holds no pair of its own, hands each new connection to it.  OpenSSL calls back for that also
    when the client names no server.  Connections that are open go on as they are.

    Attributes:
        outer: the context to give to the server; usable at once: until a pair is there, each
            handshake is refused.
        pair: what new connections get, or None.
    """

    def __init__(self) -> None:
        self._inner: ssl.SSLContext | None = None
        self.pair: Pair | None = None
        self.outer: Final = _context()
        self.outer.sni_callback = self._hand_over

    def exchange(self, pair: Pair) -> None:
        """
        Serve *pair* from the next handshake on.

        Raises:
            CertificateError: OpenSSL does not take it; what was served before still is.
        """
        inner = _context()
        with _as_file(pair.key_pem + b"\n" + pair.certificate_pem) as path:
            try:
                inner.load_cert_chain(path)
            except ssl.SSLError as error:
                why = (error.reason or "unknown reason").replace("_", " ").lower()
                raise CertificateError(f"OpenSSL refuses the pair: {why}") from None
        self._inner = inner
        self.pair = pair

    def _hand_over(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _outer: ssl.SSLContext
    ) -> int | None:
        if self._inner is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._inner
        return None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    # A resumed session would skip the certificate; API servers resume none.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """
    Give *content* a path for as long as OpenSSL reads it, in memory where the system can.

    What was checked is what is loaded, even if the files change meanwhile, and a container
    needs no place to write to.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pair"), "wb", buffering=0) as memory:
            memory.write(content)
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            file.write(content)
            yield file.name
