"""
Which containers that wait for their upstream are sent to Harbor: a pure decision.

Admission is asked, as if the Pod came in now: whatever it leaves alone is left alone here too.
"""

from collections.abc import Callable, Iterator

from webhook.config import Recovery
from webhook.image.availability import Availability, State
from webhook.image.decision import Rewrite, rewrite_by_rules
from webhook.pod.decision import Policy, decide_pod
from webhook.pod.model import Place, PodSpec
from webhook.recovery.failure import PullFailure
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Cause, Health, Move, Side
from webhook.recovery.waiting import WaitingContainer, WatchedPod


__all__ = ["rescues"]


def rescues(
    pod: WatchedPod,
    memory: PodMemory,
    *,
    policy: Policy,
    availability: Availability,
    health: Callable[[str], Health],
    now: float,
    config: Recovery,
) -> Iterator[Move]:
    """
    Yield the containers of *pod* that Harbor can serve, and that wait for their upstream in vain.

    Whether the namespace has opted in is not asked here; and the ladder has its own say afterwards
    (see `Memory.permits`).

    Args:
        pod: the Pod.
        memory: what is remembered of it.
        policy: admission's own.
        availability: what is known of Harbor, with what is quarantined and suspended.
        health: what is known of a project, by its name.
        now: the time of the clock that *memory* goes by, in seconds.
        config: the section `recovery` of the config file.
    """
    waiting = {
        (container.place, container.index): container
        for container in pod.waiting
        if _waits_in_vain(container, memory, now, config.rescue_after)
    }
    if not config.rescue or not waiting or not _has_secrets(pod, policy.pull_secrets):
        return
    for outcome in decide_pod(pod.reviewed, policy, availability):
        found = waiting.get((outcome.field.place, outcome.field.index))
        if found is None or outcome.outcome != "rewritten":
            continue
        rewrite = rewrite_by_rules(found.image, policy.rules)
        if not isinstance(rewrite, Rewrite):
            continue
        project = rewrite.rule.project
        state = health(project).state
        if state not in (State.AVAILABLE, State.CACHE_ONLY):
            continue
        yield Move(
            found,
            Side.HARBOR,
            image=rewrite.result,
            identity=str(rewrite.original),
            project=project,
            state=state,
            cause=Cause.of_upstream(memory.of(found.name).failure or PullFailure.UNKNOWN),
        )


def _waits_in_vain(
    container: WaitingContainer, memory: PodMemory, now: float, rescue_after: float
) -> bool:
    known = memory.of(container.name)
    return (
        container.place is not Place.EPHEMERAL_CONTAINERS
        and container.failing
        and container.names_image
        and known.since is not None
        and now - known.since >= rescue_after
        and (known.failure is None or known.failure.movable)
    )


def _has_secrets(pod: WatchedPod, wanted: tuple[str, ...]) -> bool:
    """
    Tell whether the Pod carries the pull secrets that Harbor wants: they can't be added later.
    """
    spec = pod.reviewed.spec or PodSpec()
    return {secret.name for secret in spec.image_pull_secrets or ()} >= set(wanted)
