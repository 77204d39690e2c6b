"""
Tokens, as whoever pulls an image gets them.

The token service is asked where the client talks to, not where a challenge points: credentials go
nowhere else.  Harbor hands a token to everyone; what it is good for stands in it.
"""

import base64
import json
import re

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from webhook.harbor.client import Answer, Cause, Credentials, HarborClient, fail


__all__ = ["Challenge", "check_may_pull", "read_challenge", "token_for"]

_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"', re.ASCII)
_PATH: Final = "/service/token"
_SERVICE: Final = "harbor-registry"


@dataclass(frozen=True, slots=True)
class Challenge:
    """
    Where Harbor says that tokens are to be had, and for which service.
    """

    realm: SplitResult
    service: str


def read_challenge(answer: Answer) -> Challenge | None:
    """
    Return the challenge of a 401, or nothing if it names no token service.
    """
    header = answer.headers.get("Www-Authenticate", "")
    scheme, _, rest = header.partition(" ")
    parameters = dict(_PARAMETER.findall(rest))
    realm = urlsplit(parameters.get("realm", ""))
    if scheme.lower() != "bearer" or not realm.netloc:
        return None
    return Challenge(realm, parameters.get("service", _SERVICE))


async def token_for(
    client: HarborClient,
    repository: str,
    account: Credentials | None = None,
    *,
    path: str = _PATH,
    service: str = _SERVICE,
) -> str:
    """
    Return a token to pull *repository* with, as *account* or as everyone.

    Raises:
        HarborError: where none is given.
    """
    query = {"service": service, "scope": f"repository:{repository}:pull"}
    authorization = account.header() if account else ""
    answer = await client.call("GET", path, query=query, authorization=authorization)
    body = answer.check(HTTPStatus.OK).json()
    token = body.get("token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token:
        raise fail(Cause.NOT_HARBOR, "the token service gives no token")
    return token


def check_may_pull(token: str, whose: str) -> None:
    """
    Make sure that a token is good for a pull; one that can't be read may be.

    Raises:
        HarborError: where it says that *whose* it is may not.
    """
    access = _claims(token).get("access")
    if isinstance(access, list) and not any(
        isinstance(grant, dict) and "pull" in (grant.get("actions") or ()) for grant in access
    ):
        raise fail(Cause.FORBIDDEN, f"{whose} has no right to pull")


def _claims(token: str) -> dict[str, Any]:
    """
    Return what stands in a token, whose signature is Harbor's business.
    """
    _, _, rest = token.partition(".")
    payload = rest.partition(".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
