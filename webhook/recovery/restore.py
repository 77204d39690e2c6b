"""
Which containers of a Pod are restored now, and why: a pure decision.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from webhook.config import Recovery
from webhook.image.availability import State
from webhook.image.rules import Rules
from webhook.pod.model import Place
from webhook.pod.origin import on_harbor, original_of, recorded
from webhook.recovery.ladder import Memory
from webhook.recovery.move import Cause, Health, Left, LeftReason, Move, Side
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
    "restore",
]

HANGS_AFTER: Final = 30.0
"""
A container without an ID counts as hanging in its pull this long after its Pod was scheduled, in
seconds.
"""


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


def restore(
    container: WaitingContainer,
    memory: Memory,
    *,
    rules: Rules,
    health: Callable[[str], Health],
    hangs: bool,
    now: float,
    config: Recovery,
) -> Move | Left | None:
    """
    Decide whether a *container* of a Pod gets its original image back.

    The ladder has its own say afterwards (see `Memory.permits`).

    Args:
        container: the container, as it waits.
        memory: what is remembered of it.
        rules: what rewrites, or did lately: `webhook.image.rules.Rules.for_records`.
        health: what is known of a project, by its name.
        hangs: its pull has neither failed nor ended for long.
        now: the time of the clock that *memory* goes by, in seconds.
        config: the section `recovery` of the config file.
    """
    failing = 0.0 if memory.since is None or not container.failing else now - memory.since
    if container.place is Place.EPHEMERAL_CONTAINERS or (
        container.failing and container.volume_image
    ):
        due = container.failing and failing >= config.restore_after
        return _immutable(container, rules) if due else None
    if not hangs and not container.names_image:
        return None  # About something else, or the kubelet will say more in a moment.
    found = recorded(container.record, container.image, rules)
    if found is None:
        if container.failing and _is_strange(container, rules):
            return Left(container, LeftReason.RECORD_MISMATCH, container.image, "")
        return None
    project = found.rewrite.rule.project
    known = health(project)
    movable = container.names_image and (memory.failure is None or memory.failure.movable)
    unavailable = known.state is State.UNAVAILABLE and known.seconds >= config.after_unavailable
    serves = known.state in (State.AVAILABLE, State.CACHE_ONLY)
    if unavailable and container.failing and movable:
        cause = Cause.UNAVAILABLE
    elif unavailable and hangs:
        cause = Cause.HANGS
    elif not container.failing or not movable or failing < config.restore_after:
        return None
    elif serves:
        cause = Cause.FAILS
    elif found.former and known.state is State.UNKNOWN:
        # Nobody looks at a project any more that the config does not name.
        cause = Cause.FORMER_RULE
    else:
        # Unknown, stale, or not unavailable for long: a short upgrade of Harbor heals itself.
        return None
    return Move(
        container,
        Side.UPSTREAM,
        image=found.original,
        identity=str(found.rewrite.original),
        project=project,
        state=known.state,
        cause=cause,
        foreign=found.moved or found.former,
    )


def _is_strange(container: WaitingContainer, rules: Rules) -> bool:
    """
    Tell whether a container waits for Harbor as if it had been rewritten, though it was not.

    What leads elsewhere is none of our business, and neither is an own image in Harbor.
    """
    if not on_harbor(container.image, rules):
        return False
    return bool(container.record or original_of(container.image, rules))
