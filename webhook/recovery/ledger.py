"""
What the controller remembers about the quarantine it wrote, and how a verdict changes it: pure.

It stands in the same ConfigMap as the quarantine.  An entry that was written and is gone before
its time was deleted by hand, and stays deleted; taking its name out of ``dismissed`` lets it in
again.
"""

import json

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from webhook.config import Recovery
from webhook.image.quarantine import Entry, Quarantine
from webhook.recovery.evidence import Nowhere, Verdict
from webhook.text import read_timestamp, timestamp


__all__ = ["Ledger", "Outcome", "Strikes", "after_verdict", "reconcile"]

_SHORTLY: Final = timedelta(minutes=15)
"""
How long a project is suspended, and an image is quarantined for the first time; each further time
it is twice as long, up to ``quarantineFor``.
"""

_MOST_DOUBLINGS: Final = 16

_NAMESPACE_SHARE: Final = 10
"""
One namespace gets this part of all entries, so that it can't take the room of the others.
"""


class Strikes(NamedTuple):
    """
    How often an image was quarantined, and until when that is remembered.
    """

    times: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    Names (of images and projects) that were written, and those sent away.

    Attributes:
        written: by name, until when.
        dismissed: names that were deleted by hand.
        strikes: by image, how often it was quarantined.
        dropped: what could not be read, one sentence each.
    """

    written: Mapping[str, datetime] = field(default_factory=dict)
    dismissed: tuple[str, ...] = ()
    strikes: Mapping[str, Strikes] = field(default_factory=dict)
    dropped: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """
        Read the ledger's *text*; what can't be read was never written, and is told in `dropped`.
        """
        if not text.strip():
            return cls()
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            return cls(dropped=("the ledger is no JSON object",))
        dropped: list[str] = []
        written: dict[str, datetime] = {}
        strikes: dict[str, Strikes] = {}
        for name, end in _members(data, "written", dropped):
            try:
                written[name] = read_timestamp(end)
            except ValueError:
                dropped.append(f"written, {name}: no time that can be used")
        for name, entry in _members(data, "strikes", dropped):
            try:
                strikes[name] = Strikes(
                    max(1, min(int(entry["times"]), _MOST_DOUBLINGS)),
                    read_timestamp(entry["until"]),
                )
            except (ValueError, TypeError, KeyError, OverflowError):
                dropped.append(f"strikes, {name}: no number and time that can be used")
        names = data.get("dismissed", [])
        if not isinstance(names, list):
            names = []
            dropped.append("dismissed: is no list")
        dismissed = tuple(name for name in names if isinstance(name, str))
        if len(dismissed) < len(names):
            dropped.append("dismissed: has members that are no text")
        return cls(written, dismissed, strikes, tuple(dropped))

    def write(self) -> str:
        """
        Return the ledger's text.
        """
        data: dict[str, Any] = {
            "written": {name: timestamp(end) for name, end in sorted(self.written.items())},
            "dismissed": list(self.dismissed),
            "strikes": {
                name: {"times": times, "until": timestamp(until)}
                for name, (times, until) in sorted(self.strikes.items())
            },
        }
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a verdict leads to.

    Attributes:
        quarantine: what is to be written.
        ledger: what is to be written beside it.
        added: names that are new in it.
        refused: images for which there was no room.
    """

    quarantine: Quarantine
    ledger: Ledger = field(default_factory=Ledger)
    added: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def reconcile(found: Quarantine, ledger: Ledger, now: datetime, most: int) -> Ledger:
    """
    Return *ledger* after what was *found* in the ConfigMap: what is missing was sent away.

    Args:
        found: the quarantine as it stands there, deletions by hand included.
        ledger: what was written last.
        now: the time.
        most: how many dismissed names are remembered.
    """
    there = {**found.images, **found.projects}
    gone = [name for name, end in ledger.written.items() if name not in there and end > now]
    dismissed = tuple(dict.fromkeys((*ledger.dismissed, *sorted(gone))))
    strikes = {name: entry for name, entry in ledger.strikes.items() if entry.until > now}
    return Ledger(_ends(found.at(now)), dismissed[-most:] if most else (), strikes)


def after_verdict(
    found: Quarantine, ledger: Ledger, verdict: Verdict, now: datetime, config: Recovery
) -> Outcome:
    """
    Return the quarantine that follows from *verdict*, within its bounds.

    An image that stands there already keeps its end: failures can't go on while it is quarantined.
    """
    living = found.at(now)
    projects = dict(living.projects)
    strikes = dict(ledger.strikes)
    dismissed = frozenset(ledger.dismissed)
    added: list[str] = []
    for project, reason in verdict.projects.items():
        if project not in projects and project not in dismissed:
            projects[project] = Entry(now + _SHORTLY, reason)
            added.append(project)
    # Their project is to blame, or nobody: a repaired node must not find them kept out for a day.
    innocent = {image for project in added for image in verdict.blamed.get(project, frozenset())}
    images = {
        name: entry
        for name, entry in living.images.items()
        if name not in innocent
        and verdict.nowhere.isdisjoint((Nowhere(name, ""), Nowhere(name, entry.namespace)))
    }
    refused: list[str] = []
    most_of_one = max(1, config.quarantine_max // _NAMESPACE_SHARE)
    for image, (failure, reason) in verdict.images.items():
        if image in images or image in dismissed or failure.project in projects:
            continue
        of_namespace = sum(e.namespace == failure.namespace for e in images.values())
        if len(images) >= config.quarantine_max or of_namespace >= most_of_one:
            refused.append(image)
            continue
        times = strikes[image].times + 1 if image in strikes else 1
        until = now + _lasts(times, config)
        images[image] = Entry(until, reason, failure.namespace)
        strikes[image] = Strikes(times, until + timedelta(seconds=config.quarantine_for))
        added.append(image)
    newest = sorted(strikes, key=lambda name: strikes[name].until)[-config.quarantine_max :]
    quarantine = Quarantine(images, projects)
    return Outcome(
        quarantine,
        Ledger(_ends(quarantine), ledger.dismissed, {name: strikes[name] for name in newest}),
        tuple(added),
        tuple(refused),
    )


def _lasts(times: int, config: Recovery) -> timedelta:
    doublings = min(times, _MOST_DOUBLINGS) - 1
    return min(timedelta(seconds=config.quarantine_for), _SHORTLY * (1 << doublings))


def _ends(quarantine: Quarantine) -> dict[str, datetime]:
    entries = {**quarantine.images, **quarantine.projects}
    return {name: entry.until for name, entry in entries.items()}


def _members(data: Mapping[str, Any], key: str, dropped: list[str]) -> Iterable[tuple[str, Any]]:
    members = data.get(key, {})
    if isinstance(members, dict):
        return members.items()
    dropped.append(f"{key}: is no object")
    return ()
