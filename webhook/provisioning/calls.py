"""
How Harbor's API is called: whole lists, and errors that say in a sentence what was tried.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

from webhook.errors import HarborError
from webhook.harbor.client import Answer, Cause, HarborClient, fail


__all__ = ["Calls", "is_read_only", "list_of", "object_of"]

_PAGE: Final = 100
_PAGES: Final = 1000

T = TypeVar("T", list[Any], dict[str, Any])


class Calls:
    """
    The ways of calling, over one client.
    """

    def __init__(self, client: HarborClient) -> None:
        self.client = client

    async def all_of(
        self, path: str, what: str, query: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """
        Return all pages of a list; Harbor shows ten entries of it else.
        """
        items: list[dict[str, Any]] = []
        for number in range(1, _PAGES):
            page = {**(query or {}), "page": str(number), "page_size": str(_PAGE)}
            found = list_of(await self.call("GET", path, what, query=page), what)
            items += [item for item in found if isinstance(item, dict)]
            if len(found) < _PAGE:
                break
        return items

    async def call_upstream(
        self, method: str, path: str, what: str, body: Mapping[str, Any], expected: int
    ) -> None:
        """
        Send what makes Harbor ask an upstream, and name that upstream where it does not answer.
        """
        where = f" {body['url']}" if "url" in body else ""
        try:
            await self.call(method, path, what, body=body, expected=(expected,))
        except HarborError as error:
            if "registry is unhealthy" in str(error):
                raise fail(
                    Cause.UPSTREAM_UNHEALTHY,
                    f"{what}: Harbor can't use the upstream{where}: it does not answer, its"
                    " certificate is not trusted, or its credentials are wrong (see core.log)",
                ) from error
            if f"HTTP {HTTPStatus.GATEWAY_TIMEOUT}" in str(error):
                raise fail(
                    Cause.UPSTREAM_UNHEALTHY,
                    f"{what}: the upstream{where} takes connections and never answers: Harbor was"
                    " still waiting for it when what stands in front gave up (HTTP 504)",
                ) from error
            raise

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        expected: tuple[int, ...] = (HTTPStatus.OK,),
        authorization: str | None = None,
        anonymous: bool = False,
    ) -> Answer:
        """
        Send one request; an error says *what* was tried.

        Raises:
            HarborError: with the cause, where the answer's status is not *expected*.
        """
        try:
            answer = await self.client.call(
                method,
                path,
                body=body,
                query=query,
                headers=headers,
                authorization="" if anonymous else authorization,
            )
            if answer.content_type == "text/html" and answer.status not in expected:
                raise fail(
                    Cause.NOT_HARBOR
                    if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
                    else Cause.HTTP_5XX,
                    f"a proxy answered with a page (HTTP {answer.status}) in Harbor's place",
                )
            if is_read_only(answer) and answer.status not in expected:
                raise fail(
                    Cause.FORBIDDEN, "Harbor is in read-only mode (an administrator's setting)"
                )
            return answer.check(*expected)
        except HarborError as error:
            raise fail(Cause(error.cause), f"{what}: {error}") from error


def list_of(answer: Answer, what: str) -> list[Any]:
    """
    Return the answer as a list.

    Raises:
        HarborError: if it is anything else.
    """
    return _read(answer, what, list, "list")


def is_read_only(answer: Answer) -> bool:
    """
    Tell whether Harbor refused because it is in read-only mode, where it forbids pings too.
    """
    return answer.status == HTTPStatus.FORBIDDEN and "read only mode" in answer.message()


def object_of(answer: Answer, what: str) -> dict[str, Any]:
    """
    Return the answer as an object.

    Raises:
        HarborError: if it is anything else.
    """
    return _read(answer, what, dict, "object")


def _read(answer: Answer, what: str, kind: type[T], name: str) -> T:
    try:
        found = answer.json()
    except HarborError as error:
        raise fail(Cause(error.cause), f"{what}: {error}") from error
    if not isinstance(found, kind):
        raise fail(Cause.NOT_HARBOR, f"{what}: the answer is no {name}")
    return found
