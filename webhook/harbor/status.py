"""
What is known of Harbor and its projects, as a value: for `/status`, surveys and `smoke`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from webhook.image.availability import State
from webhook.image.quarantine import Quarantine
from webhook.text import timestamp


__all__ = ["SUSPENDED", "Condition", "HarborStatus"]

SUSPENDED: Final = "suspended"
"""
The cause of a project that the controller has suspended; all others are what probes found.
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """
    How Harbor, or one of its projects, is.

    Attributes:
        state: what decisions are made from.
        since: when that began.
        seconds: how long ago, by a clock that nobody sets.
        cause: why it is not available, in one word (see `webhook.harbor.client.Cause`); or empty.
        why: the same as a sentence.
    """

    state: State
    since: datetime
    seconds: float
    cause: str = ""
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """
        Return it as `/status` shows it.
        """
        return {
            "state": self.state.value,
            "since": timestamp(self.since),
            "seconds": round(self.seconds, 1),
            "cause": self.cause,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class HarborStatus:
    """
    All that is known of Harbor at one moment.

    Attributes:
        url: where it is probed.
        age: for how many seconds this has been known; None before the first round of probes.
        max_age: from how many seconds on it counts as unknown.
        harbor: Harbor as a whole.
        degraded: its components that are out, and that a pull does not need.
        projects: every project of the config, in its order.
        account: the robot account for private projects; None where the config names none.
    """

    url: str
    age: float | None
    max_age: float
    harbor: Condition
    degraded: tuple[str, ...]
    projects: Mapping[str, Condition]
    account: Condition | None = None

    @property
    def fresh(self) -> bool:
        """
        Whether decisions are made from it.
        """
        return self.age is not None and self.age <= self.max_age

    def with_suspended(self, quarantine: Quarantine) -> "HarborStatus":
        """
        Return the same with those projects unavailable that *quarantine* suspends.
        """
        projects = dict(self.projects)
        for name, entry in quarantine.projects.items():
            if name in projects:
                why = f"suspended by the controller until {timestamp(entry.until)}: {entry.reason}"
                projects[name] = replace(
                    projects[name], state=State.UNAVAILABLE, cause=SUSPENDED, why=why
                )
        return replace(self, projects=MappingProxyType(projects))

    def as_json(self) -> dict[str, Any]:
        """
        Return it as `/status` shows it.
        """
        shown: dict[str, Any] = {
            "url": self.url,
            "fresh": self.fresh,
            "ageSeconds": None if self.age is None else round(self.age, 3),
            "maxAgeSeconds": self.max_age,
            "harbor": {**self.harbor.as_json(), "degraded": list(self.degraded)},
            "projects": {name: each.as_json() for name, each in self.projects.items()},
        }
        if self.account is not None:
            shown["account"] = self.account.as_json()
        return shown
