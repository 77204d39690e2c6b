"""
The calls of Harbor's API v2.0 that provisioning makes, one method each.

Errors say what was tried, in a sentence.  Nothing is tried again: after one wrong login Harbor
refuses the right one too, for a moment.
"""

import re

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from webhook.errors import HarborError
from webhook.harbor.client import Answer, Cause, Credentials, HarborClient, fail


__all__ = ["Api"]

_PAGE: Final = 100
_PAGES: Final = 1000
_VERSION: Final = re.compile(r"v2(\.\d+)*")
_BY_NAME: Final = {"X-Is-Resource-Name": "true"}
"""
A project with an all-digit name is taken for a number else.
"""


class Api:
    """
    Harbor, as an administrator sees it.
    """

    def __init__(self, client: HarborClient) -> None:
        self._client = client

    async def check_is_harbor(self) -> None:
        """
        Make sure that a Harbor 2.x answers, before any password is sent.

        Raises:
            HarborError: if anything else does.
        """
        what = f"looking for a Harbor at {self._client.base_url}"
        answer = await self._call("GET", "/api/version", what, expected=(200, 404), anonymous=True)
        version = ""
        if answer.status == 200 and answer.content_type in ("text/plain", "application/json"):  # noqa: PLR2004
            match = re.search(
                r'"version"\s*:\s*"([^"]{1,20})"', answer.body[:200].decode("latin1")
            )
            version = match[1] if match else ""
        if _VERSION.fullmatch(version):
            return
        if version.startswith("v1"):
            raise fail(Cause.NOT_HARBOR, f"{what}: it is Harbor 1.x; 2.x is needed")
        raise fail(Cause.NOT_HARBOR, f"{what}: what answers there is no Harbor 2.x")

    async def check_login(self) -> None:
        """
        Make sure that the credentials are right and those of an administrator.

        Elsewhere Harbor takes wrong credentials for none, and answers what everyone may see.

        Raises:
            HarborError: if they are not.
        """
        credentials = self._client.credentials
        name = credentials.username if credentials else "nobody"
        answer = await self._call(
            "GET", "/api/v2.0/users/current", f"logging in as {name!r}", expected=(200, 401, 412)
        )
        if answer.status == 401:  # noqa: PLR2004
            raise fail(
                Cause.UNAUTHORIZED,
                f"logging in as {name!r}: the user name or the password is wrong"
                " (after a wrong one Harbor refuses the right one too, for two seconds)",
            )
        if answer.status == 412:  # noqa: PLR2004 - a robot account; what it may not do is refused.
            return
        user = answer.json()
        if not isinstance(user, dict) or not user.get("sysadmin_flag"):
            raise fail(
                Cause.FORBIDDEN,
                f"logging in as {name!r}: this user is no system administrator, who alone may"
                " create proxy projects",
            )

    async def robot_login_works(self, credentials: Credentials) -> bool:
        """
        Tell whether a robot account's secret is the right one.
        """
        answer = await self._call(
            "GET",
            "/api/v2.0/users/current",
            f"logging in as {credentials.username!r}",
            expected=(200, 401, 412),
            authorization=credentials.header(),
        )
        return answer.status == 412  # noqa: PLR2004 - seen: what a valid robot gets.

    async def adapters(self) -> list[str]:
        """
        Return the types of endpoints that this Harbor knows.
        """
        answer = await self._call(
            "GET", "/api/v2.0/replication/adapters", "reading the types of endpoints"
        )
        return [str(name) for name in _list_of(answer, "the types of endpoints")]

    async def endpoints(self) -> list[dict[str, Any]]:
        """
        Return all registry endpoints.
        """
        return await self._all("/api/v2.0/registries", "reading the registry endpoints")

    async def create_endpoint(self, body: Mapping[str, Any]) -> None:
        """
        Make an endpoint; Harbor checks that its upstream answers.
        """
        what = f"creating the registry endpoint {body['name']}"
        await self._upstream_call("POST", "/api/v2.0/registries", what, body, 201)

    async def change_endpoint(self, number: int, name: str, body: Mapping[str, Any]) -> None:
        """
        Change an endpoint in part; Harbor checks that its upstream answers.
        """
        what = f"changing the registry endpoint {name}"
        await self._upstream_call("PUT", f"/api/v2.0/registries/{number}", what, body, 200)

    async def endpoint_answers(self, number: int) -> bool:
        """
        Let Harbor check an endpoint's upstream now, which changes nothing.
        """
        answer = await self._call(
            "POST",
            "/api/v2.0/registries/ping",
            "checking an endpoint",
            body={"id": number},
            expected=(200, 400),
        )
        return answer.status == 200  # noqa: PLR2004

    async def project(self, name: str) -> dict[str, Any] | None:
        """
        Return a project, or nothing if there is none.
        """
        what = f"reading the project {name}"
        path = f"/api/v2.0/projects/{quote(name, safe='')}"
        answer = await self._call("GET", path, what, expected=(200, 404), headers=_BY_NAME)
        if answer.status == 404:  # noqa: PLR2004
            return None
        return _object_of(answer, what)

    async def create_project(self, body: Mapping[str, Any]) -> None:
        """
        Make a project.
        """
        what = f"creating the project {body['project_name']}"
        await self._call("POST", "/api/v2.0/projects", what, body=body, expected=(201,))

    async def change_project(self, name: str, metadata: Mapping[str, str]) -> None:
        """
        Change metadata of a project; keys that are not named stay.
        """
        path = f"/api/v2.0/projects/{quote(name, safe='')}"
        what = f"changing the project {name}"
        await self._call("PUT", path, what, body={"metadata": dict(metadata)}, headers=_BY_NAME)

    async def quota(self, project: int, name: str) -> dict[str, Any]:
        """
        Return a project's quota.
        """
        what = f"reading the quota of the project {name}"
        query = {"reference": "project", "reference_id": str(project)}
        answer = await self._call("GET", "/api/v2.0/quotas", what, query=query)
        for quota in _list_of(answer, what):
            if isinstance(quota, dict) and quota.get("ref", {}).get("id") == project:
                return quota
        raise fail(Cause.NOT_FOUND, f"{what}: there is none")

    async def set_quota(self, number: int, name: str, storage: int) -> None:
        """
        Set a quota, in bytes; -1 for no limit.
        """
        what = f"setting the quota of the project {name}"
        body = {"hard": {"storage": storage}}
        await self._call("PUT", f"/api/v2.0/quotas/{number}", what, body=body)

    async def retention(self, number: int, name: str) -> dict[str, Any] | None:
        """
        Return a retention policy, or nothing if there is none of that number.
        """
        what = f"reading the retention policy of the project {name}"
        answer = await self._call(
            "GET", f"/api/v2.0/retentions/{number}", what, expected=(200, 404)
        )
        return None if answer.status == 404 else _object_of(answer, what)  # noqa: PLR2004

    async def set_retention(self, number: int | None, name: str, body: Mapping[str, Any]) -> None:
        """
        Set a project's retention policy, or give it one.
        """
        what = f"setting the retention policy of the project {name}"
        if number is None:
            await self._call("POST", "/api/v2.0/retentions", what, body=body, expected=(201,))
        else:
            policy = {**body, "id": number}
            await self._call("PUT", f"/api/v2.0/retentions/{number}", what, body=policy)

    async def robots(self) -> list[dict[str, Any]]:
        """
        Return all robot accounts of the system.
        """
        return await self._all("/api/v2.0/robots", "reading the robot accounts")

    async def create_robot(self, body: Mapping[str, Any]) -> Credentials:
        """
        Make a robot account and return its name and secret, which are shown this once.
        """
        what = f"creating the robot account {body['name']}"
        answer = await self._call("POST", "/api/v2.0/robots", what, body=body, expected=(201,))
        made = _object_of(answer, what)
        return Credentials(str(made["name"]), str(made["secret"]))

    async def change_robot(self, number: int, body: Mapping[str, Any]) -> None:
        """
        Change what a robot account may do.
        """
        what = f"changing the robot account {body['name']}"
        await self._call("PUT", f"/api/v2.0/robots/{number}", what, body=body)

    async def set_robot_secret(self, number: int, name: str, secret: str) -> None:
        """
        Give a robot account another secret.
        """
        what = f"renewing the secret of the robot account {name}"
        await self._call("PATCH", f"/api/v2.0/robots/{number}", what, body={"secret": secret})

    async def configuration(self) -> dict[str, Any]:
        """
        Return Harbor's configuration: of each key its value, and whether it can be changed.
        """
        what = "reading Harbor's configuration"
        return _object_of(await self._call("GET", "/api/v2.0/configurations", what), what)

    async def configure(self, values: Mapping[str, Any]) -> None:
        """
        Change Harbor's configuration in part.
        """
        what = "setting up the OIDC login"
        await self._call("PUT", "/api/v2.0/configurations", what, body=values)

    async def issuer_answers(self, url: str, *, verify: bool) -> bool:
        """
        Let Harbor check an OpenID Connect issuer.
        """
        answer = await self._call(
            "POST",
            "/api/v2.0/system/oidc/ping",
            "checking the OIDC issuer",
            body={"url": url, "verify_cert": verify},
            expected=(200, 400),
        )
        return answer.status == 200  # noqa: PLR2004

    async def gc_schedule(self) -> dict[str, Any] | None:
        """
        Return the schedule of the garbage collection, or nothing if there is none.
        """
        what = "reading the schedule of the garbage collection"
        answer = await self._call("GET", "/api/v2.0/system/gc/schedule", what)
        return _object_of(answer, what) if answer.body.strip() else None

    async def set_gc_schedule(self, body: Mapping[str, Any], *, replace: bool) -> None:
        """
        Set the schedule of the garbage collection.
        """
        what = "setting the schedule of the garbage collection"
        method, expected = ("PUT", 200) if replace else ("POST", 201)
        path = "/api/v2.0/system/gc/schedule"
        await self._call(method, path, what, body=body, expected=(expected,))

    async def _all(self, path: str, what: str) -> list[dict[str, Any]]:
        """
        Return all pages of a list; Harbor shows ten entries of it else.
        """
        items: list[dict[str, Any]] = []
        for page in range(1, _PAGES):
            query = {"page": str(page), "page_size": str(_PAGE)}
            found = _list_of(await self._call("GET", path, what, query=query), what)
            items += [item for item in found if isinstance(item, dict)]
            if len(found) < _PAGE:
                break
        return items

    async def _upstream_call(
        self, method: str, path: str, what: str, body: Mapping[str, Any], expected: int
    ) -> None:
        try:
            await self._call(method, path, what, body=body, expected=(expected,))
        except HarborError as error:
            if "registry is unhealthy" in str(error):
                where = f" {body['url']}" if "url" in body else ""
                raise fail(
                    Cause.UPSTREAM_UNHEALTHY,
                    f"{what}: Harbor can't use the upstream{where}: it does not answer, its"
                    " certificate is not trusted, or its credentials are wrong (see core.log)",
                ) from error
            raise

    async def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        expected: tuple[int, ...] = (200,),
        authorization: str | None = None,
        anonymous: bool = False,
    ) -> Answer:
        try:
            answer = await self._client.call(
                method,
                path,
                body=body,
                query=query,
                headers=headers,
                authorization="" if anonymous else authorization,
            )
            if answer.content_type == "text/html" and answer.status not in expected:
                raise fail(
                    Cause.NOT_HARBOR if answer.status < 500 else Cause.HTTP_5XX,  # noqa: PLR2004
                    f"a proxy answered with a page (HTTP {answer.status}) in Harbor's place",
                )
            return answer.check(*expected)
        except HarborError as error:
            raise fail(Cause(error.cause), f"{what}: {error}") from error


def _list_of(answer: Answer, what: str) -> list[Any]:
    found = _json_of(answer, what)
    if not isinstance(found, list):
        raise fail(Cause.NOT_HARBOR, f"{what}: the answer is no list")
    return found


def _object_of(answer: Answer, what: str) -> dict[str, Any]:
    found = _json_of(answer, what)
    if not isinstance(found, dict):
        raise fail(Cause.NOT_HARBOR, f"{what}: the answer is no object")
    return found


def _json_of(answer: Answer, what: str) -> Any:
    try:
        return answer.json()
    except HarborError as error:
        raise fail(Cause(error.cause), f"{what}: {error}") from error
