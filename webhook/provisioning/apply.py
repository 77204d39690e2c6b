"""
Making Harbor what the config wants.

Steps run in the order of the plan, one call after the other.  Each call leaves Harbor in a state
from which a later run goes on, so an apply that broke off is run again.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

from webhook.harbor.client import Cause, Credentials, fail
from webhook.provisioning.actual import Found, look
from webhook.provisioning.api import Api
from webhook.provisioning.desired import RobotWanted, Wanted, WantedEndpoint, WantedProject
from webhook.provisioning.plan import gc_body, make_plan, retention_body
from webhook.provisioning.robot import check_writable, new_secret, write_robot_files
from webhook.provisioning.steps import Action, Kind, Plan, Step


__all__ = ["apply", "plan_for"]


async def plan_for(api: Api, wanted: Wanted, *, resend: bool = False) -> tuple[Plan, Found]:
    """
    Log in, read what Harbor holds, and compare.

    Raises:
        HarborError: where no Harbor 2.x answers, or not to this user.
    """
    await api.check_is_harbor()
    await api.check_login()
    try:
        found = await look(api, wanted)
        return make_plan(wanted, found, resend=resend), found
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise fail(
            Cause.NOT_HARBOR, "reading what is there: an answer is not of the form of Harbor's"
        ) from error


async def apply(api: Api, wanted: Wanted, plan: Plan, found: Found) -> AsyncIterator[Step]:
    """
    Do what *plan* says, and yield every step once it is done.

    Raises:
        HarborError: where Harbor refuses a step; those before it stay done.
        ConfigError: where the robot account's secret could not be written, before any step.
    """
    if wanted.robot is not None and any(step.kind is Kind.ROBOT for step in plan.writes):
        check_writable(wanted.robot.settings)
    run = _Run(api, wanted, found)
    for step in plan.writes:
        await _DO[step.kind](run, step)
        yield step


class _Run:
    """
    One apply.
    """

    def __init__(self, api: Api, wanted: Wanted, found: Found) -> None:
        self.api = api
        self.wanted = wanted
        self.found = found
        self.numbers: dict[str, int] | None = None

    def project(self, name: str) -> WantedProject:
        return next(project for project in self.wanted.projects if project.name == name)

    async def endpoint_number(self, name: str) -> int:
        """
        Return an endpoint's number, asked for once all endpoints are made.
        """
        if self.numbers is None:
            self.numbers = {e["name"]: int(e["id"]) for e in await self.api.endpoints()}
        if name not in self.numbers:
            raise fail(Cause.NOT_FOUND, f"the registry endpoint {name} is gone; apply again")
        return self.numbers[name]


async def _endpoint(run: _Run, step: Step) -> None:
    if step.action is Action.CHANGE:
        number = int(run.found.endpoints[step.name]["id"])
        await run.api.change_endpoint(number, step.name, dict(step.body))
        return
    endpoint = next(e for e in run.wanted.endpoints if e.name == step.name)
    await run.api.create_endpoint(_endpoint_body(endpoint))


def _endpoint_body(endpoint: WantedEndpoint) -> dict[str, Any]:
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


async def _project(run: _Run, step: Step) -> None:
    if step.action is Action.CHANGE:
        await run.api.change_project(step.name, dict(step.body))
        return
    project = run.project(step.name)
    await run.api.create_project(
        {
            "project_name": project.name,
            "registry_id": await run.endpoint_number(project.endpoint.name),
            "storage_limit": project.quota,
            "metadata": project.metadata,
        }
    )


async def _quota(run: _Run, step: Step) -> None:
    held = run.found.projects[step.name]
    await run.api.set_quota(held.quota_id, step.name, run.project(step.name).quota)


async def _retention(run: _Run, step: Step) -> None:
    assert run.wanted.retention is not None  # noqa: S101
    project = await run.api.project(step.name)
    if project is None:
        raise fail(Cause.NOT_FOUND, f"the project {step.name} is gone; apply again")
    number = str((project.get("metadata") or {}).get("retention_id", ""))
    policy = retention_body(int(project["project_id"]), run.wanted.retention)
    await run.api.set_retention(int(number) if number.isdigit() else None, step.name, policy)


async def _robot(run: _Run, step: Step) -> None:
    assert run.wanted.robot is not None  # noqa: S101
    wanted, held, host = run.wanted.robot, run.found.robot, run.wanted.host
    if held is None:
        made = await run.api.create_robot(_robot_body(wanted, wanted.settings.name))
        write_robot_files(wanted.settings, made, host)
        return
    changes = dict(step.body)
    if "permissions" in changes:
        body = _robot_body(wanted, held.name) | {"id": held.id}
        await run.api.change_robot(held.id, body)
    if "secret" in changes:
        secret = new_secret()
        await run.api.set_robot_secret(held.id, held.name, secret)
        # Not before: a file holds a secret that works, or a later run sets another one.
        write_robot_files(wanted.settings, Credentials(held.name, secret), host)


def _robot_body(wanted: RobotWanted, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Pulls through the proxy projects, and probes them.",
        "level": "system",
        "duration": -1,
        "disable": False,
        "permissions": wanted.permissions,
    }


async def _garbage_collection(run: _Run, step: Step) -> None:
    assert run.wanted.garbage_collection is not None  # noqa: S101
    body = gc_body(run.wanted.garbage_collection)
    await run.api.set_gc_schedule(body, replace=step.action is Action.CHANGE)


async def _oidc(run: _Run, step: Step) -> None:
    await run.api.configure(dict(step.body))


class _Do(Protocol):
    async def __call__(self, run: _Run, step: Step, /) -> None: ...


_DO: Final[Mapping[Kind, _Do]] = {
    Kind.ENDPOINT: _endpoint,
    Kind.PROJECT: _project,
    Kind.QUOTA: _quota,
    Kind.RETENTION: _retention,
    Kind.ROBOT: _robot,
    Kind.GARBAGE_COLLECTION: _garbage_collection,
    Kind.OIDC: _oidc,
}
