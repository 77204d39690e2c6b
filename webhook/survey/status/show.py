"""
The state of an installation as text that is read in ten seconds, and as JSON.
"""

import json

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from webhook.survey.status.facts import Facts, Problem
from webhook.text import printable, timestamp


__all__ = ["VERSION", "as_json", "as_text"]

VERSION: Final = 1
"""
The version of the JSON's form; it is raised when a field goes away or changes its meaning.
"""

_MOST_IMAGES: Final = 10
_LINE: Final = 600


def as_text(facts: Facts, problems: Sequence[Problem]) -> str:
    """
    Return the state as lines: what is wrong, what to do about it, and then the rest.
    """
    return "".join(f"{printable(line, _LINE)}\n" for line in _lines(facts, problems))


def _lines(facts: Facts, problems: Sequence[Problem]) -> Iterator[str]:
    release = f"release {facts.namespace}/{facts.name} of {facts.cluster}"
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        yield f"NOT WELL: {count} in {release}"
        for number, problem in enumerate(problems, start=1):
            yield f"{number}. {problem.text}"
        yield ""
        yield "What to do"
        for number, problem in enumerate(problems, start=1):
            yield f"{number}. {problem.advice}"
    elif facts.unseen:
        yield f"UNKNOWN: not all could be looked at in {release}"
    else:
        yield f"All is well in {release}"
    yield from _part("Not seen", [f"{unseen.what}: {unseen.why}" for unseen in facts.unseen])
    yield from _part("Notes", list(_notes(facts)))
    yield from _part("Replicas", list(_replicas(facts)))
    yield from _part("Harbor", list(_harbor(facts)))
    yield from _part("Namespaces", list(_teams(facts)))
    yield from _part("Quarantined", list(_quarantined(facts)))
    yield from _part("Last moves", list(_events(facts)))


def _part(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)


def _notes(facts: Facts) -> Iterator[str]:
    if facts.config is not None and facts.config.paused:
        yield "paused: true, so nothing is rewritten (restores go on)"
    if facts.config is not None and facts.config.mode == "audit":
        yield "mode: audit in the config, so nothing is changed anywhere"
    for name, count in sorted((facts.failed_open or {}).items()):
        if count:
            yield (
                f"the API server gave up on {name} {count} times since it started, and admitted "
                "those Pods as they were"
            )
    holder = ((facts.lease or {}).get("spec") or {}).get("holderIdentity")
    if holder:
        yield f"the active controller is {str(holder).partition('_')[0]}"
    if facts.chart:
        yield f"installed by chart {facts.chart}"


def _replicas(facts: Facts) -> Iterator[str]:
    width = max((len(replica.pod) for replica in facts.replicas), default=0)
    for replica in facts.replicas:
        state = replica.trouble or ("ready" if replica.status is not None else "ready, not asked")
        yield f"{replica.pod:<{width}}  {replica.version or replica.image}  {state}"


def _harbor(facts: Facts) -> Iterator[str]:
    """
    Yield what the first replica that could be asked knows; others that disagree are a problem.
    """
    status = next((r.status for r in facts.replicas if r.status), None)
    if status is None:
        return
    conditions = {"Harbor": status.get("harbor"), **(status.get("projects") or {})}
    if "account" in status:
        conditions["robot account"] = status["account"]
    width = max(len(name) for name in conditions)
    for name, condition in conditions.items():
        if isinstance(condition, Mapping):
            why = f": {condition['why']}" if condition.get("why") else ""
            yield f"{name:<{width}}  {condition.get('state')} since {condition.get('since')}{why}"


def _teams(facts: Facts) -> Iterator[str]:
    width = max((len(team.name) for team in facts.teams), default=0)
    for team in facts.teams:
        pods = ", ".join(
            f"{team.pods[source]} {words}"
            for source, words in (
                ("cached", "on Harbor"),
                ("direct", "direct"),
                ("restored", "restored"),
            )
        )
        waiting = f", {team.waiting} waiting for an image" if team.waiting else ""
        yield f"{team.name:<{width}}  {team.label or '-':<7}  {pods}{waiting}"


def _quarantined(facts: Facts) -> Iterator[str]:
    images = list(facts.quarantine.images.items())
    for image, entry in images[:_MOST_IMAGES]:
        yield f"{image} until {timestamp(entry.until)}: {entry.reason}"
    if len(images) > _MOST_IMAGES:
        yield f"and {len(images) - _MOST_IMAGES} more"


def _events(facts: Facts) -> Iterator[str]:
    for event in facts.events:
        about = event.get("involvedObject") or {}
        where = f"{about.get('namespace') or ''}/{about.get('name')}".lstrip("/")
        yield f"{event.get('lastTimestamp')}  {where}  {event.get('reason')}: {event.get('message')}"


def as_json(facts: Facts, problems: Sequence[Problem]) -> str:
    """
    Return the state as JSON, in the form that `docs/status-json.md` promises.
    """
    return json.dumps(_document(facts, problems), indent=2) + "\n"


def _document(facts: Facts, problems: Sequence[Problem]) -> dict[str, Any]:
    spec = (facts.lease or {}).get("spec") or {}
    return {
        "version": VERSION,
        "generated": timestamp(facts.now),
        "cluster": facts.cluster,
        "namespace": facts.namespace,
        "release": facts.name,
        "chart": facts.chart,
        "well": not problems and not facts.unseen,
        "complete": not facts.unseen,
        "problems": [
            {"name": each.name, "text": each.text, "advice": each.advice} for each in problems
        ],
        "unseen": [{"what": unseen.what, "why": unseen.why} for unseen in facts.unseen],
        "paused": facts.config.paused if facts.config else None,
        "mode": facts.config.mode if facts.config else None,
        "replicas": [
            {
                "component": replica.component,
                "pod": replica.pod,
                "image": replica.image,
                "version": replica.version,
                "trouble": replica.trouble,
                "status": replica.status,
            }
            for replica in facts.replicas
        ],
        "lease": {"holder": spec.get("holderIdentity"), "renewed": spec.get("renewTime")},
        "namespaces": [
            {
                "name": team.name,
                "label": team.label,
                "pods": {source: team.pods[source] for source in ("cached", "direct", "restored")},
                "waiting": team.waiting,
            }
            for team in facts.teams
        ],
        "quarantine": json.loads(facts.quarantine.write()),
        "events": [
            {
                "time": event.get("lastTimestamp"),
                "namespace": (event.get("involvedObject") or {}).get("namespace"),
                "name": (event.get("involvedObject") or {}).get("name"),
                "reason": event.get("reason"),
                "message": event.get("message"),
            }
            for event in facts.events
        ],
        "failedOpen": facts.failed_open,
    }
