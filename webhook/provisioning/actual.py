"""
What Harbor holds of what the config decides on: read, never changed.
"""

from dataclasses import dataclass
from typing import Any, Final

from webhook.errors import HarborError
from webhook.harbor.client import Cause
from webhook.provisioning.api import Api
from webhook.provisioning.desired import OidcWanted, RobotWanted, Wanted
from webhook.provisioning.robot import read_robot_files


__all__ = ["Found", "FoundProject", "FoundRobot", "look"]

DEFAULT_ROBOT_PREFIX: Final = "robot$"


@dataclass(frozen=True, slots=True)
class FoundProject:
    """
    A project, its quota and its retention policy.
    """

    id: int
    registry_id: int | None
    metadata: dict[str, str]
    quota_id: int
    quota: int
    retention: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class FoundRobot:
    """
    The robot account, and whether the secret that lies in its file is the right one.
    """

    id: int
    name: str
    body: dict[str, Any]
    secret_works: bool


@dataclass(frozen=True, slots=True)
class Found:
    """
    All that was read.
    """

    adapters: tuple[str, ...]
    endpoints: dict[str, dict[str, Any]]
    """By name."""
    projects: dict[str, FoundProject]
    robot: FoundRobot | None
    configuration: dict[str, Any]
    """Empty where whoever asks may not read it: it takes a human administrator."""
    gc_schedule: dict[str, Any] | None
    issuer_answers: bool = True
    """Whether Harbor reaches the OIDC issuer, where a login is wanted."""


async def look(api: Api, wanted: Wanted) -> Found:
    """
    Read all that is needed to compare.

    Raises:
        HarborError: where Harbor can't be asked, or refuses to say.
    """
    configuration: dict[str, Any] = {}
    try:
        configuration = await api.configuration()
    except HarborError as error:
        if error.cause != Cause.FORBIDDEN or wanted.oidc is not None:
            raise
    endpoints = {str(endpoint["name"]): endpoint for endpoint in await api.endpoints()}
    projects: dict[str, FoundProject] = {}
    for project in wanted.projects:
        found = await _project(api, project.name)
        if found is not None:
            projects[project.name] = found
    return Found(
        tuple(await api.adapters()),
        endpoints,
        projects,
        await _robot(api, wanted.robot, configuration) if wanted.robot else None,
        configuration,
        await api.gc_schedule() if wanted.garbage_collection else None,
        await _issuer_answers(api, wanted.oidc) if wanted.oidc else True,
    )


async def _issuer_answers(api: Api, oidc: OidcWanted) -> bool:
    values = dict(oidc.values)
    url, verify = str(values["oidc_endpoint"]), bool(values["oidc_verify_cert"])
    return await api.issuer_answers(url, verify=verify)


async def _project(api: Api, name: str) -> FoundProject | None:
    project = await api.project(name)
    if project is None:
        return None
    number, metadata = int(project["project_id"]), project.get("metadata") or {}
    quota = await api.quota(number, name)
    policy = str(metadata.get("retention_id", ""))
    return FoundProject(
        number,
        project.get("registry_id") or None,
        metadata,
        int(quota["id"]),
        int(quota["hard"]["storage"]),
        await api.retention(int(policy), name) if policy.isdigit() else None,
    )


async def _robot(
    api: Api, wanted: RobotWanted, configuration: dict[str, Any]
) -> FoundRobot | None:
    prefix = configuration.get("robot_name_prefix", {}).get("value", DEFAULT_ROBOT_PREFIX)
    name = f"{prefix}{wanted.settings.name}"
    for robot in await api.robots():
        if robot.get("name") == name:
            held = read_robot_files(wanted.settings)
            works = held is not None and held.username == name
            if works and held is not None:
                works = await api.robot_login_works(held)
            return FoundRobot(int(robot["id"]), name, robot, works)
    return None
