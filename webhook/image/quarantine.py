"""
The quarantine: images that Harbor could not serve to the nodes, and suspended projects.

The controller writes them as JSON into a ConfigMap; the webhook reads the mounted file::

    {"version": 1,
     "images": {"docker.io/library/nginx:1": {"until": "2026-11-25T10:00:00Z",
                                              "reason": "…", "namespace": "…"}},
     "projects": {"proxy.docker.io": {"until": "…", "reason": "…"}}}

Images stand there under their registry's main name (`webhook.image.rules.Rules.original`).  A project
is suspended when many of its images fail on several nodes.
"""

import json

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Self

from webhook.errors import QuarantineError
from webhook.image.availability import Availability, State
from webhook.text import read_timestamp, timestamp


__all__ = ["EMPTY", "Entry", "Quarantine"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One image that is quarantined, or one project that is suspended.

    Attributes:
        until: when this ends; aware of its time zone.
        reason: one sentence for whoever reads the ConfigMap.
        namespace: whose Pod brought it here; empty for a project.
    """

    until: datetime
    reason: str = ""
    namespace: str = ""

    @classmethod
    def read(cls, data: Any) -> Self | None:
        """
        Return the entry that *data* describes, or None if it can't be read.
        """
        if not isinstance(data, dict):
            return None
        try:
            until = read_timestamp(data.get("until"))
        except ValueError:
            return None
        return cls(until, str(data.get("reason", "")), str(data.get("namespace", "")))

    def as_json(self) -> dict[str, str]:
        """
        Return what stands in the file.
        """
        data = {"until": timestamp(self.until), "reason": self.reason}
        return {**data, "namespace": self.namespace} if self.namespace else data


@dataclass(frozen=True, slots=True)
class Quarantine:
    """
    All that is quarantined, by image, and suspended, by project.

    Attributes:
        images: by the image's name at its registry.
        projects: by name.
        dropped: names of entries that could not be read.
    """

    images: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    projects: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    dropped: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """
        Read the file's *text*; an empty one means that nothing is quarantined.

        An entry that can't be read is passed over, so that a slip of the hand in one does not
        let the others in again.

        Raises:
            QuarantineError: if the text as a whole is nothing of this form.
        """
        if not text.strip():
            return cls()
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise QuarantineError("the quarantine is no valid JSON") from error
        if not isinstance(data, dict) or data.get("version") != _VERSION:
            raise QuarantineError(f"the quarantine has not the form of version {_VERSION}")
        images, bad_images = _entries(data.get("images"))
        projects, bad_projects = _entries(data.get("projects"))
        return cls(images, projects, (*bad_images, *bad_projects))

    def write(self) -> str:
        """
        Return the text of the file, the same for the same entries.
        """
        data = {
            "version": _VERSION,
            "images": {name: entry.as_json() for name, entry in sorted(self.images.items())},
            "projects": {name: entry.as_json() for name, entry in sorted(self.projects.items())},
        }
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"

    def at(self, now: datetime) -> Self:
        """
        Return what is left of it at the time *now*.
        """
        return replace(
            self,
            images=_living(self.images, now),
            projects=_living(self.projects, now),
        )

    def onto(self, availability: Availability, now: datetime) -> Availability:
        """
        Return *availability* with what is quarantined or suspended at the time *now* over it.
        """
        living = self.at(now)
        projects = availability.projects
        if living.projects:
            suspended = dict.fromkeys(living.projects, State.UNAVAILABLE)
            projects = MappingProxyType({**projects, **suspended})
        return replace(availability, projects=projects, quarantined=frozenset(living.images))


EMPTY: Final = Quarantine()
"""
Nothing is quarantined.
"""


def _entries(data: Any) -> tuple[Mapping[str, Entry], list[str]]:
    """
    Return the entries that can be read, and the names of the others.
    """
    if not isinstance(data, dict):
        return MappingProxyType({}), []
    found = {str(name): Entry.read(entry) for name, entry in data.items()}
    entries = {name: entry for name, entry in found.items() if entry is not None}
    return MappingProxyType(entries), [name for name in found if name not in entries]


def _living(entries: Mapping[str, Entry], now: datetime) -> Mapping[str, Entry]:
    if all(entry.until > now for entry in entries.values()):
        return entries
    return MappingProxyType({name: entry for name, entry in entries.items() if entry.until > now})
