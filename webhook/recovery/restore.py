"""
Whether a container that waits for Harbor gets its original image back: a pure decision.

A record proves nothing.  It counts only where the rules make of it what stands there, so that what
comes back is an image that Harbor itself would have been asked for.
"""

from collections.abc import Callable

from webhook.config import Recovery
from webhook.image.availability import State
from webhook.image.rules import Rules
from webhook.pod.model import Place
from webhook.pod.origin import on_harbor, original_of, recorded
from webhook.recovery.evidence import identity
from webhook.recovery.ladder import Memory
from webhook.recovery.move import Cause, Health, Left, LeftReason, Move, Side
from webhook.recovery.waiting import WaitingContainer


__all__ = ["restore"]


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
        identity=identity(container.image, rules),
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


def _immutable(container: WaitingContainer, rules: Rules) -> Left | None:
    if container.volume_image:
        image, reason = container.volume_image, LeftReason.IMAGE_VOLUME
    else:
        image, reason = container.image, LeftReason.EPHEMERAL_CONTAINER
    original = original_of(image, rules)
    return Left(container, reason, image, original) if original else None
