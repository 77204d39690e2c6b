"""
Quotas, retention policies and garbage collection: what differs, and what is sent.
"""

import json

from typing import Any, Final

from webhook.config.provisioning import GarbageCollection, Retention
from webhook.provisioning.actual import ActualProject
from webhook.provisioning.desired import DesiredProject
from webhook.provisioning.steps import (
    ChangeSchedule,
    CreateSchedule,
    Keep,
    Kind,
    SetQuota,
    SetRetention,
    Step,
)


__all__ = [
    "quota_step",
    "retention_body",
    "retention_step",
    "schedule_body",
    "schedule_step",
    "storage_text",
]

_GIB: Final = 1 << 30


def storage_text(size: int) -> str:
    """
    Return a quota as people read it.
    """
    return "unlimited" if size < 0 else f"{size / _GIB:g} GiB"


def quota_step(desired: DesiredProject, held: ActualProject) -> Step:
    """
    Compare a project's quota.
    """
    shown = storage_text(desired.quota)
    if held.quota is None:
        risk = "this account may not read it, so it is left as it is"
        return Keep(kind=Kind.QUOTA, name=desired.name, risks=(risk,))
    if held.quota == desired.quota:
        return Keep(kind=Kind.QUOTA, name=desired.name, details=(shown,))
    details = (f"{storage_text(held.quota)} → {shown}",)
    return SetQuota(
        name=desired.name, details=details, number=held.quota_id, storage=desired.quota
    )


def retention_body(project: int, policy: Retention) -> dict[str, Any]:
    """
    Return the policy that keeps what was pulled within so many days.
    """
    everything = {"kind": "doublestar", "pattern": "**"}
    return {
        "algorithm": "or",
        "rules": [
            {
                "action": "retain",
                "params": {"nDaysSinceLastPull": policy.days_since_last_pull},
                "scope_selectors": {"repository": [{"decoration": "repoMatches", **everything}]},
                "tag_selectors": [{"decoration": "matches", **everything}],
                "template": "nDaysSinceLastPull",
            }
        ],
        "scope": {"level": "project", "ref": project},
        "trigger": {"kind": "Schedule", "settings": {"cron": policy.cron}},
    }


def retention_step(name: str, held: ActualProject | None, policy: Retention) -> Step:
    """
    Compare a project's retention policy.
    """
    shown = f"keep what was pulled within {policy.days_since_last_pull} days"
    if held is None or held.retention is None:
        before = "Harbor's 7 days" if held is None else "none"
        return SetRetention(name=name, details=(f"{before} → {shown}",), policy=policy)
    cron = ((held.retention.get("trigger") or {}).get("settings") or {}).get("cron")
    details: list[str] = []
    days = _days_of(held.retention.get("rules") or [])
    if days != policy.days_since_last_pull:
        before = f"{days} days" if days is not None else "other rules"
        details.append(f"{before} → {shown}")
    if cron != policy.cron:
        details.append(f"schedule: {cron or 'none'} → {policy.cron}")
    if not details:
        return Keep(kind=Kind.RETENTION, name=name, details=(shown,))
    return SetRetention(name=name, details=tuple(details), policy=policy)


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


def schedule_body(schedule: GarbageCollection, workers: int = 0) -> dict[str, Any]:
    """
    Return the schedule of the garbage collection as Harbor takes it; 0 workers are its default.
    """
    parameters: dict[str, Any] = {"delete_untagged": schedule.delete_untagged}
    if workers:
        parameters["workers"] = workers
    return {"schedule": {"type": "Custom", "cron": schedule.cron}, "parameters": parameters}


def schedule_step(desired: GarbageCollection, held: dict[str, Any] | None) -> Step:
    """
    Compare the schedule of the garbage collection.
    """
    name = "schedule"
    cron = ((held or {}).get("schedule") or {}).get("cron")
    if held is None or not cron:
        return CreateSchedule(name=name, details=(desired.cron,), schedule=desired)
    parameters = _parameters(held)
    untagged = bool(parameters.get("delete_untagged", False))
    details: list[str] = []
    if cron != desired.cron:
        details.append(f"{cron} → {desired.cron}")
    if untagged != desired.delete_untagged:
        details.append(f"delete untagged: {untagged} → {desired.delete_untagged}".lower())
    if not details:
        return Keep(kind=Kind.GARBAGE_COLLECTION, name=name, details=(desired.cron,))
    workers = parameters.get("workers", 0)
    return ChangeSchedule(
        name=name,
        details=tuple(details),
        schedule=desired,
        workers=workers if isinstance(workers, int) else 0,
    )


def _parameters(held: dict[str, Any]) -> dict[str, Any]:
    try:
        parameters = json.loads(held.get("job_parameters") or "{}")
    except ValueError:
        return {}
    return parameters if isinstance(parameters, dict) else {}
