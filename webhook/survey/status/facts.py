"""
What was seen of an installation, and what is wrong with it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from webhook.config import Config
from webhook.image.quarantine import EMPTY, Quarantine
from webhook.survey.model import Unseen


__all__ = ["Facts", "Name", "Problem", "Replica", "Team"]

Object = Mapping[str, Any]


Name = Literal[
    "account-refused",
    "ca-bundle-empty",
    "certificate-expires",
    "certificate-refused",
    "certificates-failing",
    "config-refused",
    "controller-gone",
    "fence-differs",
    "fence-gone",
    "harbor-unavailable",
    "label-mistyped",
    "lease-without-holder",
    "namespace-excluded",
    "project-suspended",
    "project-unavailable",
    "quarantine-refused",
    "replica-dead",
    "replica-silent",
    "replicas-disagree",
    "version-skew",
    "webhook-configuration-gone",
    "webhook-gone",
    "wrong-serving-pair",
]
"""
What can be wrong, for programs; `docs/status-json.md` says the same in words.
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing that is wrong.

    Attributes:
        name: which kind.
        text: what is wrong, in one line.
        advice: what to do about it.
    """

    name: Name
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Replica:
    """
    One Pod of ours.

    Attributes:
        component: ``webhook`` or ``controller``.
        pod: its name.
        image: what it runs.
        trouble: why it is of no use now, or an empty string.
        status: what its ``/status`` says; None if it could not be asked.
        unasked: why it could not be asked.
    """

    component: str
    pod: str
    image: str
    trouble: str = ""
    status: Object | None = None
    unasked: str = ""

    @property
    def version(self) -> str:
        """
        Return the version that it says it is, or an empty string.
        """
        return str((self.status or {}).get("version") or "")


@dataclass(slots=True)
class Team:
    """
    A namespace with a label of ours.

    Attributes:
        name: its name.
        label: the value of its mode label; None where only a mistyped key is there.
        mistyped: labels that look like ours and mean nothing.
        excluded: whether the webhook configuration leaves it out in spite of its label.
        pods: its Pods by where they pull from: ``cached``, ``direct``, ``restored``.
        waiting: how many of them wait for an image.
    """

    name: str
    label: str | None = None
    mistyped: list[str] = field(default_factory=list)
    excluded: bool = False
    pods: Counter[str] = field(default_factory=Counter)
    waiting: int = 0


@dataclass(slots=True)
class Facts:
    """
    All that was seen at one moment.

    Attributes:
        cluster: the API server's URL.
        now: when.
        namespace: of the release.
        name: what the release's objects are called.
        chart: chart and version, as its label says.
        configuration: the MutatingWebhookConfiguration; None if it is gone.
        deployments: by component; None where one is gone.
        replicas: every Pod of theirs.
        config: what the ConfigMap says; None if it can't be used.
        config_problem: why it can't.
        lease: the controller's; None if there is none.
        policies: the fences around the controller that are there with their binding, by name.
        quarantine: what is quarantined and suspended.
        teams: namespaces with a label of ours.
        events: the last ones of the controller, the newest first.
        failed_open: how often the API server gave up on each of our webhooks since it started.
        unseen: what could not be looked at.
    """

    cluster: str
    now: datetime
    namespace: str
    name: str
    chart: str = ""
    configuration: Object | None = None
    deployments: dict[str, Object | None] = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)
    config: Config | None = None
    config_problem: str = ""
    lease: Object | None = None
    policies: dict[str, Object] | None = None
    quarantine: Quarantine = EMPTY
    teams: list[Team] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    failed_open: dict[str, int] | None = None
    unseen: list[Unseen] = field(default_factory=list)

    def of(self, component: str) -> list[Replica]:
        """
        Return the replicas of a component.
        """
        return [replica for replica in self.replicas if replica.component == component]
