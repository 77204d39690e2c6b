"""
Who gets in: the robot account and the login by OpenID Connect.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from webhook.provisioning.actual import Actual, ActualRobot, Secret
from webhook.provisioning.desired import DesiredOidc, DesiredRobot
from webhook.provisioning.steps import (
    ChangeRobot,
    Configure,
    CreateRobot,
    Keep,
    Kind,
    Refuse,
    Step,
)


__all__ = ["oidc_step", "robot_step", "robots_that_may_poison"]

_NEVER: Final = -1
_SHOWN: Final = 3
_SCANNER: Final = "scanner-"


def robot_step(desired: DesiredRobot, held: ActualRobot | None) -> Step:
    """
    Compare the robot account, and say all that keeps it from logging in or pulling.
    """
    name, where = desired.settings.name, desired.settings.manifest_file
    where = where or desired.settings.password_file
    if held is None:
        detail = f"pulls from {len(desired.projects)} projects; its secret goes to {where}"
        return CreateRobot(name=name, details=(detail,), robot=desired)
    if held.body.get("level") != "system":
        why = "is there as an account of one project; set provisioning.robot.name to another"
        return Refuse(kind=Kind.ROBOT, name=name, details=(why,))
    account = list(_account_changes(desired, held.body))
    details = list(account)
    match held.secret:
        case Secret.FAILS:
            details.append(f"the secret in {where} is wrong: a new one is set")
        case Secret.ABSENT:
            details.append(f"no secret of it in {where}: a new one is set")
        case Secret.UNTRIED:
            details.append(f"the secret in {where} is tried then, and renewed only if it is wrong")
        case Secret.WORKS:
            pass
    if not details:
        return Keep(kind=Kind.ROBOT, name=name)
    return ChangeRobot(
        name=name,
        details=tuple(details),
        robot=desired,
        number=held.id,
        account=held.name,
        update=bool(account),
    )


def _account_changes(desired: DesiredRobot, body: dict[str, Any]) -> Iterator[str]:
    if body.get("disable"):
        yield "is disabled: it is enabled"
    expires, duration = body.get("expires_at", _NEVER), body.get("duration", _NEVER)
    if expires != _NEVER or duration != _NEVER:
        yield f"expires{_moment(expires)}: it never shall"
    held, wanted = _access(body.get("permissions")), _access(desired.permissions)
    if lacks := wanted - held:
        yield f"lacks rights: {_some(lacks)}"
    if more := held - wanted:
        yield f"has more rights than to pull: {_some(more)}"


def _moment(seconds: Any) -> str:
    if not isinstance(seconds, int) or seconds <= 0:
        return ""
    return f" on {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d at %H:%M} UTC"


def _some(rights: set[tuple[str, str, str, str]]) -> str:
    texts = sorted(f"{resource}:{action} on {where}" for _, where, resource, action in rights)
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _access(permissions: Any) -> set[tuple[str, str, str, str]]:
    return {
        (str(p.get("kind")), str(p.get("namespace")), str(a.get("resource")), str(a.get("action")))
        for p in permissions or []
        for a in p.get("access") or []
    }


def robots_that_may_poison(actual: Actual) -> list[str]:
    """
    Return a sentence for each robot account that Harbor may take for one of its own scanners.

    Such an account, made by hand with the right to push, could write into a proxy cache before
    Harbor looked at who had made it.
    """
    robots: list[dict[str, Any]] = [*actual.robots]
    for project in actual.projects.values():
        robots += project.robots
    return [
        f"the robot account {robot['name']} is named like Harbor's own scanners and may push: some"
        " releases of Harbor let it write into proxy caches; delete it, or take its right to push"
        for robot in robots
        if _is_named_like_a_scanner(str(robot.get("name", ""))) and _may_push(robot)
    ]


def _is_named_like_a_scanner(name: str) -> bool:
    # robot$project+name, or robot$name; the prefix may be another.
    return name.rpartition("+")[2].rpartition("$")[2].startswith(_SCANNER)


def _may_push(robot: dict[str, Any]) -> bool:
    rights: Iterable[tuple[str, str, str, str]] = _access(robot.get("permissions"))
    return any(
        resource in ("repository", "*") and action in ("push", "*")
        for _, _, resource, action in rights
    )


def oidc_step(desired: DesiredOidc, actual: Actual, *, resend: bool) -> Step:
    """
    Compare the login by OpenID Connect; with *resend* the client's secret is sent again.
    """
    values, configuration = dict(desired.values), actual.configuration
    name = str(values["oidc_name"])
    changes = dict(_configuration_changes(values, configuration))
    mode = configuration.get("auth_mode", {})
    if "auth_mode" in changes and not mode.get("editable", True):
        why = (
            f"the auth mode can't be changed from {mode.get('value')} because users exist; delete"
            " all users but admin in Harbor, or leave provisioning.oidc out"
        )
        return Refuse(kind=Kind.OIDC, name=name, details=(why,))
    details = [
        f"{key}: {_value_text(configuration.get(key, {}).get('value'))} → {value}"
        for key, value in changes.items()
    ]
    risks: tuple[str, ...] = ()
    if actual.issuer_answers is False:
        risks = (f"Harbor does not reach {values['oidc_endpoint']} yet: only admin can log in",)
    if resend and not changes:
        details.append("client secret sent again")
    if not changes and not resend:
        return Keep(kind=Kind.OIDC, name=name, risks=risks)
    sent = {**changes, "oidc_client_secret": desired.client_secret}
    return Configure(name=name, details=tuple(details), risks=risks, values=sent)


def _value_text(value: Any) -> str:
    return "unset" if value is None or value == "" else str(value)


def _configuration_changes(
    values: dict[str, str | bool], configuration: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        held = configuration.get(key, {}).get("value")
        if key == "oidc_scope" and isinstance(held, str):
            same = {s.strip() for s in held.split(",")} == set(str(value).split(","))
        else:
            same = held == value
        if not same:
            yield key, value
