"""
The difference between what is wanted and what Harbor holds: pure.

A step creates or changes one thing with one call.  What bears the right name and means something
else is refused, with a remedy; nothing is ever deleted, and nothing that the config does not name
is touched.
"""

import json

from collections.abc import Iterator
from typing import Any, Final

from webhook.config.provisioning import GarbageCollection, Retention
from webhook.provisioning.actual import Found, FoundProject
from webhook.provisioning.desired import RobotWanted, Wanted, WantedEndpoint, WantedProject
from webhook.provisioning.steps import Action, Kind, Plan, Step


__all__ = ["gc_body", "make_plan", "retention_body"]

_GIB: Final = 1 << 30


def make_plan(wanted: Wanted, found: Found, *, resend: bool = False) -> Plan:
    """
    Compare.

    With *resend*, secrets that Harbor never shows are sent again: of upstreams and of the login.
    """
    steps: list[Step] = [_endpoint(e, found, resend=resend) for e in wanted.endpoints]
    steps += [_project(project, found) for project in wanted.projects]
    for project in wanted.projects:
        held = found.projects.get(project.name)
        if held is not None:  # A new project gets its quota when it is made.
            steps.append(_quota(project, held))
        if wanted.retention is not None:
            steps.append(_retention(project, held, wanted.retention))
    if wanted.robot is not None:
        steps.append(_robot(wanted.robot, found))
    if wanted.garbage_collection is not None:
        steps.append(_garbage_collection(wanted.garbage_collection, found))
    if wanted.oidc is not None:
        steps.append(_oidc(wanted, found, resend=resend))
    return Plan(tuple(steps))


def _endpoint(wanted: WantedEndpoint, found: Found, *, resend: bool) -> Step:
    kind, name = Kind.ENDPOINT, wanted.name
    if wanted.type not in found.adapters:
        known = ", ".join(found.adapters)
        detail = f"this Harbor knows no type {wanted.type!r}; set upstream.type to one of {known}"
        return Step(kind, name, Action.REFUSE, (detail,))
    held = found.endpoints.get(name)
    if held is None:
        details = [f"type {wanted.type}", wanted.url]
        if wanted.credentials is not None:
            details.append(f"as {wanted.credentials.username}")
        return Step(kind, name, Action.CREATE, tuple(details))
    if held.get("type") != wanted.type:
        detail = (
            f"is there with type {held.get('type')} instead of {wanted.type}, which Harbor can't"
            " change; set upstream.name to another name, or delete it in Harbor"
        )
        return Step(kind, name, Action.REFUSE, (detail,))
    # Harbor asks the same Docker Hub whatever the URL of such an endpoint says.
    if held.get("url") != wanted.url and wanted.type != "docker-hub":
        detail = (
            f"is there for {held.get('url')} instead of {wanted.url}; set upstream.name to another"
            " name, or upstream.url to that URL"
        )
        return Step(kind, name, Action.REFUSE, (detail,))
    body, details = _endpoint_changes(wanted, held, resend=resend)
    action = Action.CHANGE if body else Action.KEEP
    risks: tuple[str, ...] = ()
    if held.get("status") != "healthy":
        risk = "Harbor reports its upstream as unhealthy"
        if wanted.credentials is not None:
            risk += "; if the password was changed, apply with --resend-secrets"
        risks = (risk,)
    return Step(kind, name, action, tuple(details), risks, tuple(body.items()))


def _endpoint_changes(
    wanted: WantedEndpoint, held: dict[str, Any], *, resend: bool
) -> tuple[dict[str, Any], list[str]]:
    """
    Return the fields to send, and what they change.

    The masked secret that Harbor shows is never among them: it would become the secret.
    """
    body: dict[str, Any] = {}
    details: list[str] = []
    if bool(held.get("insecure", False)) != wanted.insecure:
        body["insecure"] = wanted.insecure
        details.append(f"insecure: {not wanted.insecure} → {wanted.insecure}".lower())
    if wanted.ca_certificate and held.get("ca_certificate", "") != wanted.ca_certificate:
        body["ca_certificate"] = wanted.ca_certificate
        details.append("another CA certificate")
    if wanted.credentials is not None:
        user = (held.get("credential") or {}).get("access_key", "")
        if user != wanted.credentials.username:
            details.append(f"user: {user or 'none'} → {wanted.credentials.username}")
        elif resend:
            details.append("password sent again")
        else:
            return body, details
        body["credential_type"] = "basic"
        body["access_key"] = wanted.credentials.username
        body["access_secret"] = wanted.credentials.password
    return body, details


def _project(wanted: WantedProject, found: Found) -> Step:
    kind, name = Kind.PROJECT, wanted.name
    risks: tuple[str, ...] = ()
    endpoint = found.endpoints.get(wanted.endpoint.name)
    if wanted.public and wanted.endpoint.credentials is not None:
        account = wanted.endpoint.credentials.username
        risks = (f"public: shows everyone all that the account {account} may read",)
    elif wanted.public and endpoint and (endpoint.get("credential") or {}).get("access_key"):
        risks = ("public, and its endpoint in Harbor has credentials the config does not name",)
    held = found.projects.get(name)
    if held is None:
        details = (
            f"proxy of {wanted.endpoint.name}",
            "public" if wanted.public else "private",
            f"quota {_storage(wanted.quota)}",
            *(f"{key} {value}" for key, value in wanted.limits),
        )
        return Step(kind, name, Action.CREATE, details, risks)
    if held.registry_id is None:
        detail = (
            "is there and is no proxy project, which Harbor can't change; choose another name in"
            " registries[].project, or delete it in Harbor"
        )
        return Step(kind, name, Action.REFUSE, (detail,))
    if endpoint is None or endpoint["id"] != held.registry_id:
        return Step(kind, name, Action.REFUSE, (_other_endpoint(wanted, held, found),))
    changes = {k: v for k, v in wanted.metadata.items() if held.metadata.get(k) != v}
    details = tuple(f"{k}: {held.metadata.get(k, 'unset')} → {v}" for k, v in changes.items())
    action = Action.CHANGE if changes else Action.KEEP
    return Step(kind, name, action, details, risks, tuple(changes.items()))


def _other_endpoint(wanted: WantedProject, held: FoundProject, found: Found) -> str:
    others = found.endpoints.items()
    name, other = next(
        ((n, e) for n, e in others if e["id"] == held.registry_id), ("an unknown endpoint", {})
    )
    remedy = "choose another name in registries[].project, or delete it in Harbor"
    if (other.get("type"), other.get("url")) == (wanted.endpoint.type, wanted.endpoint.url):
        remedy = f"set upstream.name to {name}, which is the same upstream"
    return (
        f"is there as a proxy of {name} instead of {wanted.endpoint.name}, which Harbor can't"
        f" change; {remedy}"
    )


def _quota(wanted: WantedProject, held: FoundProject) -> Step:
    kind, name = Kind.QUOTA, wanted.name
    if held.quota == wanted.quota:
        return Step(kind, name, Action.KEEP, (_storage(wanted.quota),))
    return Step(kind, name, Action.CHANGE, (f"{_storage(held.quota)} → {_storage(wanted.quota)}",))


def _storage(size: int) -> str:
    return "unlimited" if size < 0 else f"{size / _GIB:g} GiB"


def retention_body(project: int, wanted: Retention) -> dict[str, Any]:
    """
    Return the policy that keeps what was pulled within so many days.
    """
    everything = {"kind": "doublestar", "pattern": "**"}
    return {
        "algorithm": "or",
        "rules": [
            {
                "action": "retain",
                "params": {"nDaysSinceLastPull": wanted.days_since_last_pull},
                "scope_selectors": {"repository": [{"decoration": "repoMatches", **everything}]},
                "tag_selectors": [{"decoration": "matches", **everything}],
                "template": "nDaysSinceLastPull",
            }
        ],
        "scope": {"level": "project", "ref": project},
        "trigger": {"kind": "Schedule", "settings": {"cron": wanted.cron}},
    }


def _retention(wanted: WantedProject, held: FoundProject | None, policy: Retention) -> Step:
    kind, name = Kind.RETENTION, wanted.name
    shown = f"keep what was pulled within {policy.days_since_last_pull} days"
    if held is None or held.retention is None:
        before = "Harbor's 7 days" if held is None else "none"
        return Step(kind, name, Action.CHANGE, (f"{before} → {shown}",))
    rules = held.retention.get("rules") or []
    cron = ((held.retention.get("trigger") or {}).get("settings") or {}).get("cron")
    details: list[str] = []
    days = _days_of(rules)
    if days != policy.days_since_last_pull:
        before = f"{days} days" if days is not None else "other rules"
        details.append(f"{before} → {shown}")
    if cron != policy.cron:
        details.append(f"schedule: {cron or 'none'} → {policy.cron}")
    if not details:
        return Step(kind, name, Action.KEEP, (shown,))
    return Step(kind, name, Action.CHANGE, tuple(details))


def _days_of(rules: list[Any]) -> int | None:
    """
    Return the days of the only rule, if it is the one that we would write.
    """
    if len(rules) != 1 or rules[0].get("template") != "nDaysSinceLastPull":
        return None
    ours = retention_body(0, Retention())["rules"][0]
    same = ("action", "scope_selectors", "tag_selectors")
    if rules[0].get("disabled") or any(_plain(rules[0].get(k)) != ours[k] for k in same):
        return None
    try:
        return int(rules[0]["params"]["nDaysSinceLastPull"])
    except (LookupError, TypeError, ValueError):
        return None


def _plain(selector: Any) -> Any:
    """
    Return selectors without the extras that Harbor adds to them when they are saved.
    """
    if isinstance(selector, dict):
        return {k: _plain(v) for k, v in selector.items() if k != "extras"}
    if isinstance(selector, list):
        return [_plain(item) for item in selector]
    return selector


def _robot(wanted: RobotWanted, found: Found) -> Step:
    kind, name, held = Kind.ROBOT, wanted.settings.name, found.robot
    where = wanted.settings.manifest_file or wanted.settings.password_file
    if held is None:
        detail = f"pulls from {len(wanted.projects)} projects; its secret goes to {where}"
        return Step(kind, name, Action.CREATE, (detail,))
    changes: dict[str, Any] = {}
    details: list[str] = []
    if held.body.get("level") != "system":
        detail = "is there as an account of one project; set provisioning.robot.name to another"
        return Step(kind, name, Action.REFUSE, (detail,))
    if _access(held.body.get("permissions")) != _access(wanted.permissions):
        changes["permissions"] = True
        details.append("may do something else than to pull from these projects")
    if held.body.get("disable"):
        changes["permissions"] = True
        details.append("is disabled")
    if not held.secret_works:
        changes["secret"] = True
        details.append(f"no working secret in {where}: a new one is set")
    action = Action.CHANGE if changes else Action.KEEP
    return Step(kind, name, action, tuple(details), (), tuple(changes.items()))


def _access(permissions: Any) -> set[tuple[str, str, str, str]]:
    return {
        (str(p.get("kind")), str(p.get("namespace")), str(a.get("resource")), str(a.get("action")))
        for p in permissions or []
        for a in p.get("access") or []
    }


def gc_body(wanted: GarbageCollection) -> dict[str, Any]:
    """
    Return the schedule as Harbor takes it.
    """
    return {
        "schedule": {"type": "Custom", "cron": wanted.cron},
        "parameters": {"delete_untagged": wanted.delete_untagged},
    }


def _garbage_collection(wanted: GarbageCollection, found: Found) -> Step:
    kind, name, held = Kind.GARBAGE_COLLECTION, "schedule", found.gc_schedule
    if held is None:
        return Step(kind, name, Action.CREATE, (wanted.cron,))
    cron = (held.get("schedule") or {}).get("cron") or "none"
    untagged = _delete_untagged(held)
    details: list[str] = []
    if cron != wanted.cron:
        details.append(f"{cron} → {wanted.cron}")
    if untagged != wanted.delete_untagged:
        details.append(f"delete untagged: {untagged} → {wanted.delete_untagged}".lower())
    action = Action.CHANGE if details else Action.KEEP
    return Step(kind, name, action, tuple(details) or (wanted.cron,))


def _delete_untagged(held: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(held.get("job_parameters") or "{}").get("delete_untagged", False))
    except (ValueError, AttributeError):
        return False


def _oidc(wanted: Wanted, found: Found, *, resend: bool) -> Step:
    assert wanted.oidc is not None  # noqa: S101
    kind = Kind.OIDC
    values = dict(wanted.oidc.values)
    name = str(values["oidc_name"])
    changes = dict(_configuration_changes(values, found.configuration))
    mode = found.configuration.get("auth_mode", {})
    if "auth_mode" in changes and not mode.get("editable", True):
        detail = (
            f"the auth mode can't be changed from {mode.get('value')} because users exist; delete"
            " all users but admin in Harbor, or leave provisioning.oidc out"
        )
        return Step(kind, name, Action.REFUSE, (detail,))
    details = [
        f"{key}: {found.configuration.get(key, {}).get('value') or 'unset'} → {value}"
        for key, value in changes.items()
    ]
    if resend and not changes:
        details.append("client secret sent again")
    if changes or resend:
        changes["oidc_client_secret"] = wanted.oidc.client_secret
    action = Action.CHANGE if changes else Action.KEEP
    risks: tuple[str, ...] = ()
    if not found.issuer_answers:
        risks = (f"Harbor does not reach {values['oidc_endpoint']} yet: only admin can log in",)
    return Step(kind, name, action, tuple(details), risks, tuple(changes.items()))


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
