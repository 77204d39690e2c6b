"""
Real TLS over loopback: a server on a context, and clients that show what they were given.
"""

import asyncio
import datetime as dt
import ssl

from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cryptography import x509

from certs.authority import Authority, service_names


NAMES = service_names("hook", "apps")
HOST = "hook.apps.svc"
"""The name that API servers ask for."""


def now():
    return dt.datetime.now(dt.UTC)


def authority(*, days=365, at=None):
    return Authority.create(now=at or now(), lifetime=dt.timedelta(days=days))


def pair_of(signer, *, days=90, at=None):
    return signer.issue(NAMES, now=at or now(), lifetime=dt.timedelta(days=days))


def write(directory: Path, pair):
    (directory / "tls.crt").write_bytes(pair.certificate_pem)
    (directory / "tls.key").write_bytes(pair.key_pem)


@asynccontextmanager
async def serving(context):
    """
    Echo lines on a free port, which is given out.
    """

    async def echo(reader, writer):
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if hasattr(server, "close_clients"):
            server.close_clients()


def trusting(*pems, version=None):
    """
    Return a client's context that trusts what *pems* hold, and nothing else.
    """
    context = ssl.create_default_context(cadata=b"".join(pems).decode())
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Connection:
    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self.tls = writer.get_extra_info("ssl_object")

    @property
    def certificate(self):
        return x509.load_der_x509_certificate(self.tls.getpeercert(binary_form=True))

    async def echoes(self, line=b"hello\n"):
        self._writer.write(line)
        await self._writer.drain()
        return await self._reader.readline() == line

    async def close(self):
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()


@asynccontextmanager
async def connected(port, context, host=HOST):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host
    )
    connection = Connection(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()
