"""
What the controller remembers about the quarantine it wrote, and how a verdict changes it: pure.

It stands in the same ConfigMap as the quarantine.  An entry that was written and is gone before
its time was deleted by hand, and stays deleted; taking its name out of ``dismissed`` lets it in
again.
"""

import json

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from webhook.config import Recovery
from webhook.image.quarantine import Entry, Quarantine
from webhook.recovery.evidence import Failure, Verdict


__all__ = ["Ledger", "Outcome", "after_verdict", "reconcile"]

_SHORTLY: Final = timedelta(minutes=15)
"""
How long a project is counted out, and an image whose upstream was down is left alone; then it is
tried again.
"""

_NAMESPACE_SHARE: Final = 10
"""
One namespace gets this part of all entries, so that it can't take the room of the others.
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    Names (of images and projects) that were written, with their end, and those sent away.
    """

    written: Mapping[str, datetime]
    dismissed: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """
        Read the ledger's *text*; what can't be read was never written.
        """
        try:
            data = json.loads(text)
            written = {str(k): datetime.fromisoformat(v) for k, v in data["written"].items()}
            return cls(written, tuple(str(name) for name in data["dismissed"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls({})

    def write(self) -> str:
        """
        Return the ledger's text.
        """
        data: dict[str, Any] = {
            "written": {name: end.isoformat() for name, end in sorted(self.written.items())},
            "dismissed": list(self.dismissed),
        }
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a verdict leads to.

    Attributes:
        quarantine: what is to be written.
        added: names that are new in it.
        refused: images for which there was no room.
    """

    quarantine: Quarantine
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
    living = found.at(now)
    ends = {name: entry.until for name, entry in {**living.images, **living.projects}.items()}
    return Ledger(ends, dismissed[-most:] if most else ())


def after_verdict(
    found: Quarantine, ledger: Ledger, verdict: Verdict, now: datetime, config: Recovery
) -> Outcome:
    """
    Return the quarantine that follows from *verdict*, within its bounds.

    An image that stands there already keeps its end: failures can't go on while it is left alone.
    """
    living = found.at(now)
    projects = dict(living.projects)
    dismissed = frozenset(ledger.dismissed)
    added: list[str] = []
    for project, reason in verdict.projects.items():
        if project not in projects and project not in dismissed:
            projects[project] = Entry(now + _SHORTLY, reason)
            added.append(project)
    blamed = {image for project in added for image in verdict.blamed.get(project, frozenset())}
    # Their project is to blame: a repaired node must not find them left alone for a day.
    images = {name: entry for name, entry in living.images.items() if name not in blamed}
    refused: list[str] = []
    most_of_one = max(1, config.quarantine_max // _NAMESPACE_SHARE)
    for image, (failure, reason) in verdict.images.items():
        if image in images or image in dismissed or failure.project in projects:
            continue
        of_namespace = sum(e.namespace == failure.namespace for e in images.values())
        if len(images) >= config.quarantine_max or of_namespace >= most_of_one:
            refused.append(image)
            continue
        images[image] = Entry(now + _lasts(failure, config), reason, failure.namespace)
        added.append(image)
    return Outcome(Quarantine(images, projects), tuple(added), tuple(refused))


def _lasts(failure: Failure, config: Recovery) -> timedelta:
    whole = timedelta(seconds=config.quarantine_for)
    return min(whole, _SHORTLY) if failure.upstream_down else whole
