"""
The images of workloads as rows for people: Pods that are alike share one.

A pipeline's Pods, or the runs of a Job, live for minutes under made-up names; what they pull is
one fact, and not fourteen.
"""

import re

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from webhook.survey import ClusterImage, Survey, WorkloadReport


__all__ = ["Row", "rows"]

_LASTING: Final = frozenset(
    {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "CronJob"}
)
"""
The kinds whose names people choose; each has rows of its own.
"""

# What the API server puts behind a `generateName`, and every part of a name that has a digit.
_MADE_UP: Final = re.compile(r"-(?:[^-]*\d[^-]*|[bcdfghjklmnpqrstvwxz]{5}$).*|\d.*")

_Key = tuple[str, ...]


@dataclass(slots=True)
class Row:
    """
    One image of one workload, or of several that are alike.

    Attributes:
        workload: the first of them.
        image: the image, as the first of them uses it.
        names: the names of all of them.
        uses: how many containers of their Pods use the image.
        on_harbor: how many of these are on Harbor now.
        restored: how many of these have been restored.
    """

    workload: WorkloadReport
    image: ClusterImage
    names: list[str] = field(default_factory=list)
    uses: int = 0
    on_harbor: int = 0
    restored: int = 0

    @property
    def name(self) -> str:
        """
        Return the workload's name, or what the names of several have in common.
        """
        if len(self.names) == 1:
            return self.names[0]
        return f"{_family(self.names[0])}…"

    @property
    def look(self) -> str:
        """
        Say what to look at before this is enforced, or nothing.
        """
        if self.restored:
            return "restored"
        if self.image.outcome == "kept":
            return ""
        if self.workload.operator:
            return "operator"
        if self.workload.gitops:
            return "in Git"
        return "pull secret" if self.workload.pull_secrets else ""

    @property
    def pulls(self) -> str:
        """
        Say how firmly the image is named: ``start`` (each start asks), ``digest`` or ``tag``.
        """
        if self.image.every_start:
            return "start"
        return "digest" if self.image.digest else "tag"


def rows(survey: Survey) -> list[Row]:
    """
    Return a row per image of each workload, by namespace, kind and name.
    """
    found: dict[_Key, Row] = {}
    for workload in survey.workloads:
        for image in workload.images:
            row = found.setdefault(tuple(_key(workload, image)), Row(workload, image))
            row.names.append(workload.name)
            row.uses += image.running.total
            row.on_harbor += image.running.cached
            row.restored += image.running.restored
    return list(found.values())


def _key(workload: WorkloadReport, image: ClusterImage) -> Iterator[str]:
    yield workload.namespace
    yield workload.kind
    yield workload.name if workload.kind in _LASTING else _family(workload.name)
    yield image.image
    yield image.reason
    yield str(image.every_start)
    # Who brings pull secrets is looked at one by one.
    yield " ".join(workload.pull_secrets) + workload.operator + workload.gitops


def _family(name: str) -> str:
    return _MADE_UP.sub("", name)
