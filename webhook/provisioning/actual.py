"""
What Harbor holds of what the config decides on: read, never changed.
"""

import asyncio
import re

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from webhook.errors import HarborError
from webhook.harbor.client import Cause, Credentials
from webhook.provisioning.api import Api
from webhook.provisioning.desired import Desired, DesiredOidc, DesiredRobot
from webhook.provisioning.robot_files import read_robot_files


__all__ = ["Actual", "ActualProject", "ActualRobot", "Secret", "read_actual"]

_CONCURRENT: Final = 8
"""
How many requests are under way at most: each one costs Harbor a password hash.
"""

T = TypeVar("T")

_DEFAULT_ROBOT_PREFIX: Final = "robot$"
_VERSION: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})")


@dataclass(frozen=True, slots=True)
class ActualProject:
    """
    A project, its quota, its retention policy and its own robot accounts.
    """

    id: int
    registry_id: int | None
    metadata: dict[str, str]
    quota_id: int
    quota: int | None
    """Bytes, -1 for no limit; nothing where whoever asks may not read it."""
    retention: dict[str, Any] | None
    robots: tuple[dict[str, Any], ...] = ()


class Secret(Enum):
    """
    What is known of the secret that lies in the robot account's file.
    """

    WORKS = "works"
    FAILS = "fails"
    ABSENT = "absent"
    UNTRIED = "untried"
    """The account lets nobody in, be the secret right or wrong: it is disabled or has expired."""


@dataclass(frozen=True, slots=True)
class ActualRobot:
    """
    The robot account, its whole name, and whether the secret in its file is the right one.
    """

    id: int
    name: str
    body: dict[str, Any]
    secret: Secret


@dataclass(frozen=True, slots=True)
class Actual:
    """
    All that was read.
    """

    adapters: tuple[str, ...]
    endpoints: dict[str, dict[str, Any]]
    """By name."""
    projects: dict[str, ActualProject]
    robot: ActualRobot | None
    robots: tuple[dict[str, Any], ...]
    """All robot accounts of the system."""
    configuration: dict[str, Any]
    """Empty where whoever asks may not read it: it takes a human administrator."""
    gc_schedule: dict[str, Any] | None
    issuer_answers: bool | None = None
    """Whether Harbor reaches the OIDC issuer; nothing where that was not asked, or not told."""
    version: tuple[int, int] | None = None
    """Harbor's release, such as 2, 15; nothing where it does not say."""
    read_only: bool = False
    """Whether Harbor refuses every change."""


async def read_actual(api: Api, desired: Desired) -> Actual:
    """
    Read all that is needed to compare, several projects at once.

    Raises:
        HarborError: where Harbor can't be asked, or refuses to say.
    """
    about = await api.about()
    configuration: dict[str, Any] = {}
    try:
        configuration = await api.configuration()
    except HarborError as error:
        if error.cause != Cause.FORBIDDEN or desired.oidc is not None:
            raise
    robots = await _robots(api, desired)
    endpoints = {str(endpoint["name"]): endpoint for endpoint in await api.endpoints()}
    quotas = await _quotas(api)
    listed = {str(project["name"]): project for project in await api.projects()}
    names = [project.name for project in desired.projects]
    projects = await _some_at_once(_project(api, name, listed.get(name), quotas) for name in names)
    return Actual(
        tuple(await api.adapters()),
        endpoints,
        {name: held for name, held in zip(names, projects, strict=True) if held is not None},
        await _robot(api, desired.robot, robots, configuration) if desired.robot else None,
        tuple(robots),
        configuration,
        await api.gc_schedule() if desired.garbage_collection else None,
        await _issuer_answers(api, desired.oidc) if desired.oidc else None,
        _version(about),
        bool(about.get("read_only", False)),
    )


async def _some_at_once(calls: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """
    Wait for all, some of them at once; the first error ends the others.
    """
    limit = asyncio.Semaphore(_CONCURRENT)

    async def one(call: Coroutine[None, None, T]) -> T:
        async with limit:
            return await call

    tasks = [asyncio.create_task(one(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _version(about: dict[str, Any]) -> tuple[int, int] | None:
    found = _VERSION.match(str(about.get("harbor_version", "")))
    return (int(found[1]), int(found[2])) if found else None


async def _issuer_answers(api: Api, oidc: DesiredOidc) -> bool | None:
    values = dict(oidc.values)
    url, verify = str(values["oidc_endpoint"]), bool(values["oidc_verify_cert"])
    return await api.issuer_answers(url, verify=verify)


async def _quotas(api: Api) -> dict[int, dict[str, Any]] | None:
    """
    Return the quotas by project; nothing for a robot account that may not read them.
    """
    try:
        return {int(quota["ref"]["id"]): quota for quota in await api.quotas()}
    except HarborError as error:
        if error.cause != Cause.FORBIDDEN:
            raise
    return None


async def _project(
    api: Api,
    name: str,
    listed: dict[str, Any] | None,
    quotas: dict[int, dict[str, Any]] | None,
) -> ActualProject | None:
    # A list may leave out what can be seen by its name.
    project = listed or await api.project(name)
    if project is None:
        return None
    number, metadata = int(project["project_id"]), project.get("metadata") or {}
    quota = quotas[number] if quotas is not None else None
    policy = str(metadata.get("retention_id", ""))
    return ActualProject(
        number,
        project.get("registry_id") or None,
        metadata,
        int(quota["id"]) if quota else 0,
        int(quota["hard"]["storage"]) if quota else None,
        await api.retention(int(policy), name) if policy.isdigit() else None,
        tuple(await _robots_of(api, number)),
    )


async def _robots(api: Api, desired: Desired) -> list[dict[str, Any]]:
    try:
        return await api.robots()
    except HarborError as error:
        if error.cause != Cause.FORBIDDEN or desired.robot is not None:
            raise
    return []


async def _robots_of(api: Api, project: int) -> list[dict[str, Any]]:
    """
    Return a project's own robot accounts, as far as whoever asks may see them.
    """
    try:
        return await api.robots(project)
    except HarborError as error:
        if error.cause != Cause.FORBIDDEN:
            raise
    return []


async def _robot(
    api: Api,
    desired: DesiredRobot,
    robots: list[dict[str, Any]],
    configuration: dict[str, Any],
) -> ActualRobot | None:
    prefix = configuration.get("robot_name_prefix", {}).get("value", _DEFAULT_ROBOT_PREFIX)
    name = f"{prefix}{desired.settings.name}"
    for robot in robots:
        if robot.get("name") == name:
            secret = await _secret(api, desired, robot)
            return ActualRobot(int(robot["id"]), name, robot, secret)
    return None


async def _secret(api: Api, desired: DesiredRobot, robot: dict[str, Any]) -> Secret:
    held = read_robot_files(desired.settings)
    if held is None or held.username != robot["name"]:
        return Secret.ABSENT
    if await api.robot_login_works(Credentials(held.username, held.password)):
        return Secret.WORKS
    lets_in = not robot.get("disable") and robot.get("expires_at", -1) == -1
    return Secret.FAILS if lets_in else Secret.UNTRIED
