"""
Which containers of a Pod are restored now, and why: a pure decision.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from webhook.config import Recovery
from webhook.image.availability import State
from webhook.image.rules import Rules
from webhook.pod.model import Place
from webhook.pod.origin import original_of, recorded
from webhook.recovery.waiting import WaitingContainer, WatchedPod


__all__ = [
    "HANGS_AFTER",
    "Cause",
    "Health",
    "Left",
    "LeftReason",
    "Plan",
    "Restore",
    "plan_restores",
]

HANGS_AFTER: Final = 30.0
"""
A container without an ID counts as hanging in its pull this long after its Pod was scheduled, in
seconds.
"""


class Cause(StrEnum):
    """
    Why a container is put back.
    """

    UNAVAILABLE = "project-unavailable"
    """Its pull failed, and Harbor or the project has been unavailable for a while."""
    HANGS = "pull-hangs"
    """Its pull neither fails nor ends, and the project has been unavailable for a while."""
    FAILS = "pull-fails"
    """Its pull keeps failing although Harbor is there."""


class LeftReason(StrEnum):
    """
    Why a container is left as it is.
    """

    RECORD_MISMATCH = "record-mismatch"
    """The rules do not make its image out of its record: someone else wrote one of the two."""
    IMAGE_VOLUME = "image-volume"
    """What can't be pulled is the image of a volume, which is immutable."""
    EPHEMERAL_CONTAINER = "ephemeral-container"
    """An ephemeral container is immutable."""


class Health(NamedTuple):
    """
    What is known of a project, and for how long that has been so, in seconds.
    """

    state: State
    seconds: float


@dataclass(frozen=True, slots=True)
class Restore:
    """
    One container that is put back now.

    Attributes:
        container: the container.
        original: what its image becomes: the record, with the digest that was pinned since.
        identity: that image under its registry's main name, as in the quarantine.
        project: the project that it was to come from.
        state: the project's state at the decision.
        moved: the image still points at a former address of Harbor.
        cause: why.
    """

    container: WaitingContainer
    original: str
    identity: str
    project: str
    state: State
    moved: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class Left:
    """
    One container that waits for a pull and is left as it is, although it looks like one of ours.

    Attributes:
        container: the container.
        reason: why.
        image: the image that can't be pulled.
        original: where it would come from without Harbor, as far as the rules tell; or empty.
    """

    container: WaitingContainer
    reason: LeftReason
    image: str
    original: str


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What to do about one Pod now.
    """

    restores: tuple[Restore, ...] = ()
    left: tuple[Left, ...] = ()


def plan_restores(
    pod: WatchedPod,
    *,
    rules: Rules,
    health: Callable[[str], Health],
    failing_for: Mapping[str, float],
    restored: Collection[str],
    now: float,
    config: Recovery,
) -> Plan:
    """
    Decide which containers of *pod* are put back now.

    Args:
        pod: the Pod as it was last seen.
        rules: what rewrites: `webhook.image.rules.Rules.for_records`.
        health: what is known of a project, by its name.
        failing_for: by container, for how many seconds it has been seen to fail in its pull.
        restored: the names of containers of this Pod that were put back before.
        now: the time, in seconds since 1970.
        config: the section `recovery` of the config file.
    """
    restores: list[Restore] = []
    left: list[Left] = []
    for container in pod.waiting:
        if container.name in restored:
            continue
        failing = failing_for.get(container.name, 0.0) if container.failing else 0.0
        if container.place is Place.EPHEMERAL_CONTAINERS or (
            container.failing and container.volume_image
        ):
            if failing >= config.restore_after and (immutable := _immutable(container, rules)):
                left.append(immutable)
            continue
        if container.failing and not container.names_image:
            continue  # About something else, or the kubelet will say more in a moment.
        found = recorded(container.record, container.image, rules)
        if found is None:
            if container.failing and _claims_to_be_ours(container, rules):
                image = container.image
                left.append(Left(container, LeftReason.RECORD_MISMATCH, image, ""))
            continue
        project = found.rewrite.rule.project
        known = health(project)
        hangs = (
            container.may_hang and pod.scheduled is not None and now - pod.scheduled >= HANGS_AFTER
        )
        cause = _cause(container, hangs=hangs, health=known, failing=failing, config=config)
        if cause is None:
            continue
        identity = str(found.rewrite.original)
        restores.append(
            Restore(container, found.original, identity, project, known.state, found.moved, cause)
        )
    return Plan(tuple(restores), tuple(left))


def _cause(
    container: WaitingContainer, *, hangs: bool, health: Health, failing: float, config: Recovery
) -> Cause | None:
    if health.state is State.UNAVAILABLE and health.seconds >= config.after_unavailable:
        if container.failing:
            return Cause.UNAVAILABLE
        return Cause.HANGS if hangs else None
    serves = health.state in (State.AVAILABLE, State.CACHE_ONLY)
    if serves and container.failing and failing >= config.restore_after:
        return Cause.FAILS
    # Unknown, stale, or not unavailable for long: a short upgrade of Harbor heals itself.
    return None


def _claims_to_be_ours(container: WaitingContainer, rules: Rules) -> bool:
    """
    Tell whether a record, or an image in one of our projects, says that this was rewritten.

    A container that has been put back carries its record still, and its image is the record.
    """
    if container.record:
        return container.record != container.image
    return original_of(container.image, rules) != ""


def _immutable(container: WaitingContainer, rules: Rules) -> Left | None:
    if container.volume_image:
        image, reason = container.volume_image, LeftReason.IMAGE_VOLUME
    else:
        image, reason = container.image, LeftReason.EPHEMERAL_CONTAINER
    original = original_of(image, rules)
    return Left(container, reason, image, original) if original else None
