"""
The calls of Harbor's API v2.0 that provisioning makes, one method each.

Errors say what was tried, in a sentence.  No call that failed is sent again.
"""

import asyncio
import re

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from webhook.harbor.client import Answer, Cause, Credentials, HarborClient, fail
from webhook.provisioning.calls import Calls, is_read_only, list_of, object_of


__all__ = ["Api"]

_TEXT: Final = ("text/plain", "application/json")
_VERSION: Final = re.compile(r"v2(\.\d+)*")
_BY_NAME: Final = {"X-Is-Resource-Name": "true"}
"""
A project with an all-digit name is taken for a number else.
"""


class Api(Calls):
    """
    Harbor, as an administrator sees it.
    """

    def __init__(self, client: HarborClient, *, locked_for: float = 2.0) -> None:
        """
        Call over *client*.

        After a wrong login Harbor refuses the right one for *locked_for* seconds, well counted.
        """
        super().__init__(client)
        self._locked_for = locked_for

    async def check_is_harbor(self) -> None:
        """
        Make sure that a Harbor 2.x answers, before any password is sent.

        Raises:
            HarborError: if anything else does.
        """
        what = f"looking for a Harbor at {self.client.base_url}"
        answer = await self.call(
            "GET",
            "/api/version",
            what,
            expected=(HTTPStatus.OK, HTTPStatus.NOT_FOUND),
            anonymous=True,
        )
        version = ""
        if answer.status == HTTPStatus.OK and answer.content_type in _TEXT:
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
        credentials = self.client.credentials
        name = credentials.username if credentials else "nobody"
        answer = await self.call(
            "GET",
            "/api/v2.0/users/current",
            f"logging in as {name!r}",
            expected=(HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.PRECONDITION_FAILED),
        )
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise fail(
                Cause.UNAUTHORIZED,
                f"logging in as {name!r}: the user name or the password is wrong"
                " (after a wrong one Harbor refuses the right one too, for two seconds)",
            )
        if (
            answer.status == HTTPStatus.PRECONDITION_FAILED
        ):  # - a robot account; what it may not do is refused.
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
        Tell whether a robot account logs in with this secret.

        Tried twice: others may have tried a wrong one a moment ago, which locks the right one too.
        """
        if await self._robot_logs_in(credentials):
            return True
        await asyncio.sleep(self._locked_for)
        return await self._robot_logs_in(credentials)

    async def _robot_logs_in(self, credentials: Credentials) -> bool:
        answer = await self.call(
            "GET",
            "/api/v2.0/users/current",
            f"logging in as {credentials.username!r}",
            expected=(HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.PRECONDITION_FAILED),
            authorization=credentials.header(),
        )
        # Seen: what a valid robot gets.
        return answer.status == HTTPStatus.PRECONDITION_FAILED

    async def about(self) -> dict[str, Any]:
        """
        Return what Harbor says of itself: its version, and whether it is in read-only mode.
        """
        what = "reading which Harbor it is"
        return object_of(await self.call("GET", "/api/v2.0/systeminfo", what), what)

    async def adapters(self) -> list[str]:
        """
        Return the types of endpoints that this Harbor knows.
        """
        answer = await self.call(
            "GET", "/api/v2.0/replication/adapters", "reading the types of endpoints"
        )
        return [str(name) for name in list_of(answer, "the types of endpoints")]

    async def endpoints(self) -> list[dict[str, Any]]:
        """
        Return all registry endpoints.
        """
        return await self.all_of("/api/v2.0/registries", "reading the registry endpoints")

    async def create_endpoint(self, body: Mapping[str, Any]) -> None:
        """
        Make an endpoint; Harbor checks that its upstream answers.
        """
        what = f"creating the registry endpoint {body['name']}"
        await self.call_upstream("POST", "/api/v2.0/registries", what, body, HTTPStatus.CREATED)

    async def change_endpoint(self, number: int, name: str, body: Mapping[str, Any]) -> None:
        """
        Change an endpoint in part; Harbor checks that its upstream answers.
        """
        what = f"changing the registry endpoint {name}"
        await self.call_upstream(
            "PUT", f"/api/v2.0/registries/{number}", what, body, HTTPStatus.OK
        )

    async def endpoint_answers(self, number: int) -> bool | None:
        """
        Let Harbor check an endpoint's upstream now, which changes nothing.

        Returns:
            Nothing where Harbor is in read-only mode: it refuses to check then.
        """
        answer = await self.call(
            "POST",
            "/api/v2.0/registries/ping",
            "checking an endpoint",
            body={"id": number},
            expected=(HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN),
        )
        return _ping_result(answer)

    async def projects(self) -> list[dict[str, Any]]:
        """
        Return all projects that whoever asks may see.
        """
        return await self.all_of("/api/v2.0/projects", "reading the projects")

    async def project(self, name: str) -> dict[str, Any] | None:
        """
        Return a project, or nothing if there is none.

        A robot account is answered 403 for a project that is absent; one that it may not see ends
        in the conflict that making it meets.
        """
        what = f"reading the project {name}"
        path = f"/api/v2.0/projects/{quote(name, safe='')}"
        answer = await self.call(
            "GET",
            path,
            what,
            expected=(HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND),
            headers=_BY_NAME,
        )
        return object_of(answer, what) if answer.status == HTTPStatus.OK else None

    async def create_project(self, body: Mapping[str, Any]) -> None:
        """
        Make a project.
        """
        what = f"creating the project {body['project_name']}"
        await self.call(
            "POST", "/api/v2.0/projects", what, body=body, expected=(HTTPStatus.CREATED,)
        )

    async def change_project(self, name: str, metadata: Mapping[str, str]) -> None:
        """
        Change metadata of a project; keys that are not named stay.
        """
        path = f"/api/v2.0/projects/{quote(name, safe='')}"
        what = f"changing the project {name}"
        await self.call("PUT", path, what, body={"metadata": dict(metadata)}, headers=_BY_NAME)

    async def quotas(self) -> list[dict[str, Any]]:
        """
        Return the quotas of all projects.
        """
        what = "reading the quotas of the projects"
        return await self.all_of("/api/v2.0/quotas", what, {"reference": "project"})

    async def set_quota(self, number: int, name: str, storage: int) -> None:
        """
        Set a quota, in bytes; -1 for no limit.
        """
        what = f"setting the quota of the project {name}"
        body = {"hard": {"storage": storage}}
        await self.call("PUT", f"/api/v2.0/quotas/{number}", what, body=body)

    async def retention(self, number: int, name: str) -> dict[str, Any] | None:
        """
        Return a retention policy, or nothing if there is none of that number.
        """
        what = f"reading the retention policy of the project {name}"
        path = f"/api/v2.0/retentions/{number}"
        # Seen: a policy that was deleted is answered with 500.
        answer = await self.call(
            "GET",
            path,
            what,
            expected=(HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR),
        )
        return object_of(answer, what) if answer.status == HTTPStatus.OK else None

    async def set_retention(self, number: int | None, name: str, body: Mapping[str, Any]) -> None:
        """
        Set a project's retention policy, or give it one.
        """
        what = f"setting the retention policy of the project {name}"
        if number is None:
            await self.call(
                "POST", "/api/v2.0/retentions", what, body=body, expected=(HTTPStatus.CREATED,)
            )
        else:
            policy = {**body, "id": number}
            await self.call("PUT", f"/api/v2.0/retentions/{number}", what, body=policy)

    async def robots(self, project: int | None = None) -> list[dict[str, Any]]:
        """
        Return all robot accounts of the system, or those of one project.
        """
        of_project = {"q": f"Level=project,ProjectID={project}"}
        return await self.all_of(
            "/api/v2.0/robots", "reading the robot accounts", of_project if project else None
        )

    async def create_robot(self, body: Mapping[str, Any]) -> Credentials:
        """
        Make a robot account and return its name and secret, which are shown this once.
        """
        what = f"creating the robot account {body['name']}"
        answer = await self.call(
            "POST", "/api/v2.0/robots", what, body=body, expected=(HTTPStatus.CREATED,)
        )
        made = object_of(answer, what)
        return Credentials(str(made["name"]), str(made["secret"]))

    async def change_robot(self, number: int, body: Mapping[str, Any]) -> None:
        """
        Change what a robot account may do.
        """
        what = f"changing the robot account {body['name']}"
        await self.call("PUT", f"/api/v2.0/robots/{number}", what, body=body)

    async def set_robot_secret(self, number: int, name: str, secret: str) -> None:
        """
        Give a robot account another secret.
        """
        what = f"renewing the secret of the robot account {name}"
        await self.call("PATCH", f"/api/v2.0/robots/{number}", what, body={"secret": secret})

    async def configuration(self) -> dict[str, Any]:
        """
        Return Harbor's configuration: of each key its value, and whether it can be changed.
        """
        what = "reading Harbor's configuration"
        return object_of(await self.call("GET", "/api/v2.0/configurations", what), what)

    async def configure(self, values: Mapping[str, Any]) -> None:
        """
        Change Harbor's configuration in part.
        """
        what = "setting up the OIDC login"
        await self.call("PUT", "/api/v2.0/configurations", what, body=values)

    async def issuer_answers(self, url: str, *, verify: bool) -> bool | None:
        """
        Let Harbor check an OpenID Connect issuer.

        Returns:
            Nothing where Harbor is in read-only mode: it refuses to check then.
        """
        answer = await self.call(
            "POST",
            "/api/v2.0/system/oidc/ping",
            "checking the OIDC issuer",
            body={"url": url, "verify_cert": verify},
            expected=(HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN),
        )
        return _ping_result(answer)

    async def gc_schedule(self) -> dict[str, Any] | None:
        """
        Return the schedule of the garbage collection, or nothing if there is none.
        """
        what = "reading the schedule of the garbage collection"
        answer = await self.call("GET", "/api/v2.0/system/gc/schedule", what)
        return object_of(answer, what) if answer.body.strip() else None

    async def set_gc_schedule(self, body: Mapping[str, Any], *, replace: bool) -> None:
        """
        Set the schedule of the garbage collection.
        """
        what = "setting the schedule of the garbage collection"
        method, expected = ("PUT", HTTPStatus.OK) if replace else ("POST", HTTPStatus.CREATED)
        path = "/api/v2.0/system/gc/schedule"
        await self.call(method, path, what, body=body, expected=(expected,))


def _ping_result(answer: Answer) -> bool | None:
    if answer.status == HTTPStatus.FORBIDDEN and not is_read_only(answer):
        answer.check(HTTPStatus.OK)
    return None if answer.status == HTTPStatus.FORBIDDEN else answer.status == HTTPStatus.OK
