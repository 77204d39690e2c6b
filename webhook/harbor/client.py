"""
A client for the few calls to Harbor that this project makes.

It keeps no cookies (a session cookie makes Harbor refuse writes), follows no redirects, takes no
more from a connection than Harbor has to say, and gives every call one deadline from the name's
lookup to the last byte.  Whatever goes wrong is a `HarborError` with a cause in one word.
"""

import asyncio
import json
import ssl

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from urllib.parse import urlsplit

import aiohttp

from webhook.errors import HarborError
from webhook.harbor.network import BoundedSocket, PatientResolver, TooMuchError
from webhook.text import printable


__all__ = ["Answer", "Cause", "Credentials", "HarborClient", "fail", "read_credentials"]

MAX_BODY: Final = 1 << 20
"""
How much of an answer is read where nothing else is said.  The longest ones, pages of 100 projects,
stay well below.
"""

_CONNECTION_BODIES: Final = 8
"""
How much one connection may bring in all, headers and handshakes included, in bodies.
"""

_MAX_CREDENTIAL: Final = 4096
_SHOWN: Final = 200


class Cause(StrEnum):
    """
    Why a call or a probe failed: a metric's label, so a closed list.
    """

    REFUSED = "refused"
    TIMEOUT = "timeout"
    DNS = "dns"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    DISCONNECTED = "disconnected"
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    HTTP_4XX = "http-4xx"
    HTTP_5XX = "http-5xx"
    NOT_HARBOR = "not-harbor"
    """Something answered that is no Harbor: a page, another service, an endless body."""
    COMPONENT_DOWN = "component-down"
    NOT_A_PROXY = "not-a-proxy-project"
    UPSTREAM_UNHEALTHY = "upstream-unhealthy"
    CANARY = "canary"
    CREDENTIALS = "credentials"
    """A file with credentials, or a CA bundle, can't be read."""
    INTERNAL = "internal-error"


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    A user or robot account; the secret stays out of every representation.
    """

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, …)"

    def header(self) -> str:
        """
        Return the value of an Authorization header.
        """
        return aiohttp.encode_basic_auth(self.username, self.password, "utf-8")


def fail(cause: Cause, message: str) -> HarborError:
    """
    Return an error; what others said may be in *message*, so it is cut and made printable.
    """
    return HarborError(printable(message, _SHOWN), cause)


def read_credentials(username_file: Path, password_file: Path) -> Credentials:
    """
    Read an account from two files, a line end after each value aside.

    Raises:
        HarborError: where one can't be read, is empty or overlong.
    """
    values: list[str] = []
    for path in (username_file, password_file):
        try:
            with path.open(encoding="utf-8") as file:
                value = file.read(_MAX_CREDENTIAL + 1).strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8"
            raise fail(Cause.CREDENTIALS, f"{path}: {reason}") from error
        if not value or len(value) > _MAX_CREDENTIAL or "\n" in value:
            raise fail(Cause.CREDENTIALS, f"{path}: must hold one line with one value")
        values.append(value)
    return Credentials(*values)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came back.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """
        Return the media type without parameters, in lower case.
        """
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """
        Return the body as JSON.

        Raises:
            HarborError: if it is anything else, such as a page with status 200.
        """
        if self.content_type != "application/json":
            what = self.content_type or "nothing"
            raise fail(Cause.NOT_HARBOR, f"answered with {what} where Harbor answers with JSON")
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise fail(Cause.NOT_HARBOR, "answered with JSON that can't be read") from error

    def message(self) -> str:
        """
        Return the first message of Harbor's error body, or nothing.
        """
        try:
            return str(json.loads(self.body)["errors"][0]["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""

    def check(self, *expected: int) -> Self:
        """
        Return the answer if its status is one of *expected*.

        Raises:
            HarborError: with the cause that fits the status.
        """
        if self.status in expected:
            return self
        said = f": {message}" if (message := self.message()) else ""
        raise fail(_cause_of(self.status), f"answered with HTTP {self.status}{said}")


_BY_STATUS: Final[Mapping[int, Cause]] = {
    HTTPStatus.UNAUTHORIZED: Cause.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Cause.FORBIDDEN,
    HTTPStatus.NOT_FOUND: Cause.NOT_FOUND,
}


def _cause_of(status: int) -> Cause:
    by_class = {3: Cause.REDIRECT, 4: Cause.HTTP_4XX, 5: Cause.HTTP_5XX}
    of_class = by_class.get(status // 100, Cause.NOT_HARBOR)
    return _BY_STATUS.get(status, of_class)


class HarborClient:
    """
    One connection pool to one Harbor.

    Used as a context: the connections are closed at its end.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        credentials: Credentials | None = None,
        timeout: float,
        max_body: int = MAX_BODY,
        resolver: PatientResolver | None = None,
    ) -> None:
        """
        Prepare a client; *timeout* is the deadline of each call, in seconds.

        An answer has at most *max_body* bytes.  Clients that follow one another share a *resolver*.
        """
        self.base_url = base_url
        self.credentials = credentials
        self._tls = tls
        self._timeout = timeout
        self._max_body = max_body
        self._resolver = resolver or PatientResolver()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._tls or True,
                limit=16,
                resolver=self._resolver,
                socket_factory=lambda address: BoundedSocket(
                    address, self._max_body * _CONNECTION_BODIES
                ),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The deadline is asyncio's, around all of a call.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "harbor-cache-webhook"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        authorization: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of what is asked for.
    ) -> Answer:
        """
        Send one request and return what came back, whatever its status but a redirect.

        *authorization* is sent instead of the client's credentials; empty for none at all.

        Raises:
            HarborError: where nothing, a redirect, or too much came back.
        """
        if self._session is None:
            raise RuntimeError("the client is not open")
        sent = dict(headers or {})
        if authorization is None and self.credentials is not None:
            authorization = self.credentials.header()
        if authorization:
            sent["Authorization"] = authorization
        try:
            async with (
                asyncio.timeout(timeout or self._timeout),
                self._session.request(
                    method,
                    self.base_url + path,
                    params=query,
                    json=body,
                    headers=sent,
                    allow_redirects=False,
                ) as response,
            ):
                content = await _read(response, self._max_body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if isinstance(error.__cause__, TooMuchError):
                raise _too_much(self._max_body) from error
            _explain(error, timeout or self._timeout)
        answer = Answer(response.status, response.headers, content)
        if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            target = urlsplit(answer.headers.get("Location", "")).netloc
            where = f"to {target}" if target else "elsewhere"
            raise fail(Cause.REDIRECT, f"redirects {where} (HTTP {answer.status})")
        return answer


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > most:
            response.close()
            raise _too_much(most)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_much(most: int) -> HarborError:
    size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
    return fail(Cause.NOT_HARBOR, f"answers with more than {size}")


def _explain(error: Exception, timeout: float) -> NoReturn:
    """
    Raise *error* again as one with a cause.  From the special to the general: order matters.
    """
    match error:
        case TimeoutError():
            raise fail(Cause.TIMEOUT, f"no answer within {timeout:g} s") from error
        case aiohttp.ClientConnectorDNSError():
            raise fail(Cause.DNS, f"the name {error.host} can't be resolved") from error
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "not trusted"
            raise fail(Cause.TLS, f"the certificate is not accepted: {reason}") from error
        case aiohttp.ClientSSLError() | ssl.SSLError():
            raise fail(Cause.TLS, "no TLS connection could be made") from error
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            raise fail(Cause.REFUSED, "the connection is refused") from error
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or "no route"
            raise fail(Cause.UNREACHABLE, f"can't be reached: {reason}") from error
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            raise fail(Cause.DISCONNECTED, "the connection was closed") from error
        case aiohttp.ClientPayloadError():
            raise fail(Cause.DISCONNECTED, "the answer was cut off") from error
        case _:
            raise fail(Cause.NOT_HARBOR, "the answer is no proper HTTP") from error
