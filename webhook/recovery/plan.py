"""
What to do about one Pod now: restores, rescues, and what the ladder says to both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from webhook.config import Recovery
from webhook.image.availability import Availability
from webhook.pod.decision import Policy
from webhook.recovery.ladder import Waits
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Health, Left, LeftReason, Move, Plan
from webhook.recovery.rescue import rescues
from webhook.recovery.restore import restore
from webhook.recovery.waiting import WaitingContainer, WatchedPod


__all__ = ["Knowledge", "plan"]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """
    What the controller knows at one moment, beside the Pod.

    Attributes:
        policy: admission's own, of the config in force; `Rules.former` holds former rules.
        config: the section `recovery` of the config file.
        availability: what admission would go by, with what is quarantined and suspended.
        health: what is known of a project, by its name; a suspended one is unavailable.
        mode: the mode of a namespace, by its name; empty where it has not opted in.
        waits: how long everything waits.
    """

    policy: Policy
    config: Recovery
    availability: Availability
    health: Callable[[str], Health]
    mode: Callable[[str], Literal["enforce", "audit", ""]]
    waits: Waits = field(default_factory=Waits)


def plan(pod: WatchedPod, memory: PodMemory, known: Knowledge, *, now: float, wall: float) -> Plan:
    """
    Decide what is done about *pod* now.

    A restore is looked for first: no container can need both, since a record that leads to Harbor
    and an image that leads elsewhere exclude each other.

    Args:
        pod: the Pod as it was last seen.
        memory: what is remembered of it, this sight included.
        known: what else is known.
        now: the time of the clock that *memory* goes by, in seconds.
        wall: the time, in seconds since 1970.
    """
    config, waits = known.config, known.waits
    found: list[Move] = []
    left: list[Left] = []
    for container in pod.waiting:
        decision = restore(
            container,
            memory.of(container.name),
            rules=known.policy.rules.for_records,
            health=known.health,
            hangs=_hangs(container, pod, memory, waits, now=now, wall=wall),
            now=now,
            config=config,
        )
        if isinstance(decision, Move):
            found.append(decision)
        elif decision is not None:
            left.append(decision)
    mode = known.mode(pod.namespace)
    if mode == "enforce" and known.policy.mode == "audit":
        mode = "audit"
    rescued: list[Move] = []
    if mode:
        rescued = list(
            rescues(
                pod,
                memory,
                policy=known.policy,
                availability=known.availability,
                health=known.health,
                now=now,
                config=config,
            )
        )
    audited = tuple(rescued) if mode == "audit" else ()
    moves: list[Move] = []
    later: list[Move] = []
    for move in (*found, *(() if audited else rescued)):
        history = memory.of(move.container.name)
        if move.image in history.taken_back:
            left.append(
                Left(move.container, LeftReason.TAKEN_BACK, move.container.image, move.image)
            )
        elif now >= memory.not_before and history.permits(
            move, known.health(move.project), now, waits
        ):
            moves.append(move)
        else:
            later.append(move)
    return Plan(tuple(moves), tuple(left), tuple(later), audited)


def _hangs(
    container: WaitingContainer,
    pod: WatchedPod,
    memory: PodMemory,
    waits: Waits,
    *,
    now: float,
    wall: float,
) -> bool:
    """
    Tell whether the pull of *container* has been going on for long, as far as can be known.
    """
    if not container.may_hang or pod.scheduled is None or wall - pod.scheduled < waits.hangs:
        return False
    history = memory.of(container.name)
    return not history.moves or now - history.moved_at >= waits.hangs
