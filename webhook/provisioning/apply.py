"""
Making Harbor what the config desires.

Steps run in the order of the plan, one call after the other.  Each call leaves Harbor in a state
from which a later run goes on, so an apply that broke off is run again.
"""

from collections.abc import AsyncIterator
from typing import Any, assert_never

from webhook.harbor.client import Cause, Credentials, fail
from webhook.provisioning.actual import read_actual
from webhook.provisioning.api import Api
from webhook.provisioning.desired import Desired, DesiredEndpoint, DesiredRobot
from webhook.provisioning.plan import make_plan
from webhook.provisioning.plan_storage import retention_body, schedule_body
from webhook.provisioning.robot_files import (
    check_writable,
    new_secret,
    read_robot_files,
    write_robot_files,
)
from webhook.provisioning.steps import (
    ChangeEndpoint,
    ChangeProject,
    ChangeRobot,
    ChangeSchedule,
    Configure,
    CreateEndpoint,
    CreateProject,
    CreateRobot,
    CreateSchedule,
    Plan,
    SetQuota,
    SetRetention,
    Write,
)


__all__ = ["apply", "plan_for"]


async def plan_for(api: Api, desired: Desired, *, resend: bool = False) -> Plan:
    """
    Log in, read what Harbor holds, and compare.

    Raises:
        HarborError: where no Harbor 2.x answers, or not to this user.
    """
    await api.check_is_harbor()
    await api.check_login()
    try:
        return make_plan(desired, await read_actual(api, desired), resend=resend)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise fail(
            Cause.NOT_HARBOR, "reading what is there: an answer is not of the form of Harbor's"
        ) from error


async def apply(api: Api, desired: Desired, plan: Plan) -> AsyncIterator[Write]:
    """
    Do what *plan* says, and yield every step once it is done.

    Raises:
        HarborError: where Harbor refuses a step; those before it stay done.
        ConfigError: where the robot account's secret could not be written, before any step.
    """
    run = _Run(api, desired.host)
    for step in plan.writes:
        if isinstance(step, CreateRobot | ChangeRobot):
            check_writable(step.robot.settings)
    for step in plan.writes:
        await run.do(step)
        yield step


class _Run:
    """
    One apply.
    """

    def __init__(self, api: Api, host: str) -> None:
        self._api = api
        self._host = host
        self._numbers: dict[str, int] | None = None

    async def do(self, step: Write) -> None:
        api = self._api
        match step:
            case CreateEndpoint():
                await api.create_endpoint(_endpoint_body(step.endpoint))
            case ChangeEndpoint():
                await api.change_endpoint(step.number, step.name, step.fields)
            case CreateProject():
                await self._create_project(step)
            case ChangeProject():
                await api.change_project(step.name, step.metadata)
            case SetQuota():
                await api.set_quota(step.number, step.name, step.storage)
            case SetRetention():
                await self._set_retention(step)
            case CreateRobot():
                made = await api.create_robot(_robot_body(step.robot, step.robot.settings.name))
                write_robot_files(step.robot.settings, made, self._host)
                await self._check_robot(made)
            case ChangeRobot():
                await self._change_robot(step)
            case CreateSchedule():
                await api.set_gc_schedule(schedule_body(step.schedule), replace=False)
            case ChangeSchedule():
                body = schedule_body(step.schedule, step.workers)
                await api.set_gc_schedule(body, replace=True)
            case Configure():
                await api.configure(step.values)
            case _:
                assert_never(step)

    async def _create_project(self, step: CreateProject) -> None:
        project = step.project
        await self._api.create_project(
            {
                "project_name": project.name,
                "registry_id": await self._endpoint_number(project.endpoint.name),
                "storage_limit": project.quota,
                "metadata": dict(step.metadata),
            }
        )

    async def _endpoint_number(self, name: str) -> int:
        """
        Return an endpoint's number, asked for once all endpoints are made.
        """
        if self._numbers is None:
            self._numbers = {e["name"]: int(e["id"]) for e in await self._api.endpoints()}
        if name not in self._numbers:
            raise fail(Cause.NOT_FOUND, f"the registry endpoint {name} is gone; apply again")
        return self._numbers[name]

    async def _set_retention(self, step: SetRetention) -> None:
        project = await self._api.project(step.name)
        if project is None:
            raise fail(Cause.NOT_FOUND, f"the project {step.name} is gone; apply again")
        number = str((project.get("metadata") or {}).get("retention_id", ""))
        policy = retention_body(int(project["project_id"]), step.policy)
        await self._api.set_retention(int(number) if number.isdigit() else None, step.name, policy)

    async def _change_robot(self, step: ChangeRobot) -> None:
        settings = step.robot.settings
        if step.update:
            body = _robot_body(step.robot, step.account) | {"id": step.number}
            await self._api.change_robot(step.number, body)
        held = read_robot_files(settings)
        if held is not None:
            present = Credentials(step.account, held.password)
            if await self._api.robot_login_works(present):
                if held.username != step.account:  # Harbor's prefix of such names was changed.
                    write_robot_files(settings, present, self._host)
                return
        renewed = Credentials(step.account, new_secret())
        await self._api.set_robot_secret(step.number, step.account, renewed.password)
        # Not before: a file holds a secret that works, or a later run sets another one.
        write_robot_files(settings, renewed, self._host)
        await self._check_robot(renewed)

    async def _check_robot(self, credentials: Credentials) -> None:
        if not await self._api.robot_login_works(credentials):
            raise fail(
                Cause.UNAUTHORIZED,
                f"the robot account {credentials.username} does not log in with the secret that"
                " Harbor has just taken; look at it in Harbor, and apply again",
            )


def _endpoint_body(endpoint: DesiredEndpoint) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": endpoint.name,
        "type": endpoint.type,
        "url": endpoint.url,
        "insecure": endpoint.insecure,
    }
    if endpoint.ca_certificate:
        body["ca_certificate"] = endpoint.ca_certificate
    if endpoint.credentials is not None:
        body["credential"] = {
            "type": "basic",
            "access_key": endpoint.credentials.username,
            "access_secret": endpoint.credentials.password,
        }
    return body


def _robot_body(robot: DesiredRobot, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Pulls through the proxy projects, and probes them.",
        "level": "system",
        "duration": -1,
        "disable": False,
        "permissions": robot.permissions,
    }
