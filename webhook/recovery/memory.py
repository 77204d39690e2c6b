"""
What is remembered of one Pod: a value, so that a plan can be tried without keeping it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self

from webhook.pod.model import PodSpec
from webhook.recovery.ladder import Memory, Waits
from webhook.recovery.move import Move
from webhook.recovery.waiting import WatchedPod


__all__ = ["PodMemory"]

_UNKNOWN: Final = Memory()


@dataclass(frozen=True, slots=True)
class PodMemory:
    """
    What is remembered of one Pod, until it is known to be gone: a value, so a plan can be tried first.

    Attributes:
        containers: by name.
        attempts: by image, what was remembered of the container whose pull was last seen to fail.
        version: the Pod's resourceVersion, as a number, up to which this is true.
        refusals: how many patches in a row were refused.
        not_before: no patch is tried before this time, in seconds.
    """

    containers: Mapping[str, Memory] = field(default_factory=lambda: MappingProxyType({}))
    attempts: Mapping[str, Memory] = field(default_factory=lambda: MappingProxyType({}))
    version: int = 0
    refusals: int = 0
    not_before: float = 0.0

    def of(self, container: str) -> Memory:
        """
        Return what is remembered of a container.
        """
        return self.containers.get(container, _UNKNOWN)

    def seen(self, pod: WatchedPod, now: float, waits: Waits, *, changed: bool) -> Self:
        """
        Return the memory after *pod* was seen; one that is older than what is known changes nothing.

        Two watches may tell of one Pod, and the answer to a patch overtakes both.

        Args:
            pod: the Pod.
            now: when it was seen, in seconds.
            waits: how long everything waits.
            changed: the API server has just told of this change (see `Memory.seen`).
        """
        if pod.version and pod.version <= self.version:
            return self
        containers, waiting = dict(self.containers), {c.name for c in pod.waiting}
        spec = pod.reviewed.spec or PodSpec()
        for container in (listed := (*(spec.containers or ()), *(spec.init_containers or ()))):
            known = containers.get(container.name)
            if known is not None and container.name not in waiting:
                containers[container.name] = known.runs(container.image or "", now, waits)
        named = {container.image for container in listed}
        attempts = {image: last for image, last in self.attempts.items() if image in named}
        for seen in pod.waiting:
            memory = self.of(seen.name).seen(seen, now, waits, changed=changed)
            containers[seen.name] = memory
            if memory.failed_at == now:
                attempts[seen.image] = memory
        for seen in pod.waiting:
            if seen.failing and seen.image in attempts:
                containers[seen.name] = containers[seen.name].shares(attempts[seen.image])
        known_of_all = self._with(containers, version=pod.version)
        return replace(known_of_all, attempts=MappingProxyType(attempts))

    def sending(self, moves: Iterable[Move]) -> Self:
        """
        Return the memory while the patch that makes *moves* is on its way.
        """
        changed = {m.container.name: self.of(m.container.name).sending(m) for m in moves}
        return self._with({**self.containers, **changed}, version=self.version)

    def moved(self, moves: Iterable[Move], now: float, waits: Waits, version: int = 0) -> Self:
        """
        Return the memory after *moves* were made; the Pod has the resourceVersion *version* now.
        """
        changed = {
            move.container.name: self.of(move.container.name).moved(
                move.to, move.image, now, waits
            )
            for move in moves
        }
        memory = self._with({**self.containers, **changed}, version=max(version, self.version))
        return replace(memory, refusals=0, not_before=0.0)

    def refused(self, now: float, waits: Waits) -> Self:
        """
        Return the memory after somebody refused a patch: this Pod waits, and no other.
        """
        containers = {name: replace(m, sent=None) for name, m in self.containers.items()}
        return self._with(containers, version=self.version).unanswered(now, waits)

    def unanswered(self, now: float, waits: Waits) -> Self:
        """
        Return the memory after a patch got no answer: it may still be made, and this Pod waits.
        """
        refusals = self.refusals + 1
        wait = waits.before_retry(refusals)
        return replace(self, refusals=refusals, not_before=now + wait)

    def _with(self, containers: Mapping[str, Memory], *, version: int) -> Self:
        return replace(self, containers=MappingProxyType(dict(containers)), version=version)
