"""
Which containers of a Pod are restored now, and why: a pure decision.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from webhook.config import Recovery
from webhook.errors import InvalidReferenceError
from webhook.image.availability import State
from webhook.image.decision import Rewrite, rewrite_by_rules
from webhook.image.reference import Reference
from webhook.image.rules import Rule, Rules
from webhook.pod.model import Place
from webhook.recovery.waiting import WaitingContainer, WatchedPod


__all__ = [
    "HANGS_AFTER",
    "Cause",
    "Health",
    "Left",
    "LeftReason",
    "Plan",
    "Restore",
    "original_of",
    "plan_restores",
    "project_of",
    "recovery_rules",
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
        original: what its image becomes: the record, as it was written.
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


def recovery_rules(rules: Rules) -> Rules:
    """
    Return *rules* without their include and exclude patterns.

    Whoever excludes an image because Harbor can't serve it must not strand the Pods that already
    wait for it.  It opens nothing: the image that comes back is still the one that Harbor caches.
    """
    return replace(
        rules, rules=tuple(replace(rule, include=("*",), exclude=()) for rule in rules.rules)
    )


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
        rules: those of `recovery_rules`.
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
            if failing >= config.restore_after and (found := _immutable(container, rules)):
                left.append(found)
            continue
        if container.failing and not container.names_image:
            continue  # About something else, or the kubelet will say more in a moment.
        match = _match(container, rules)
        if match is None:
            if container.failing and _claims_to_be_ours(container, rules):
                image = container.image
                left.append(Left(container, LeftReason.RECORD_MISMATCH, image, ""))
            continue
        rewrite, moved = match
        project = rewrite.rule.project
        known = health(project)
        hangs = (
            container.may_hang and pod.scheduled is not None and now - pod.scheduled >= HANGS_AFTER
        )
        cause = _cause(container, hangs=hangs, health=known, failing=failing, config=config)
        if cause is None:
            continue
        identity = str(rewrite.original)
        restores.append(
            Restore(container, container.record, identity, project, known.state, moved, cause)
        )
    return Plan(tuple(restores), tuple(left))


def original_of(image: str, rules: Rules) -> str:
    """
    Return what an *image* at Harbor is called at its registry; empty if it is none of ours.

    Only good enough to be told to people: several names may lead to one image at Harbor.
    """
    found = _at_harbor(image, rules)
    if found is None:
        return ""
    reference, rule = found
    path = reference.path.removeprefix(f"{rule.project}/")
    return str(Reference(rule.host, path, reference.tag, reference.digest))


def project_of(image: str, rules: Rules) -> str:
    """
    Return the project that an *image* at Harbor is in; empty if it is in none of ours.
    """
    found = _at_harbor(image, rules)
    return found[1].project if found else ""


def _at_harbor(image: str, rules: Rules) -> tuple[Reference, Rule] | None:
    try:
        reference = Reference.parse(image)
    except InvalidReferenceError:
        return None
    if rules.leads_to_harbor(reference):
        for rule in rules.rules:
            if reference.path.startswith(f"{rule.project}/"):
                return reference, rule
    return None


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


def _match(container: WaitingContainer, rules: Rules) -> tuple[Rewrite, bool] | None:
    """
    Return the rewrite that leads from the record to the image, and whether Harbor has moved since.
    """
    if not container.record:
        return None
    decision = rewrite_by_rules(container.record, rules)
    if not isinstance(decision, Rewrite):
        return None
    if decision.result == container.image:
        return decision, False
    cached = rules.cached(decision.original, decision.rule)
    for host in rules.former_hosts:
        if str(replace(cached, domain=host)) == container.image:
            return decision, True
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
