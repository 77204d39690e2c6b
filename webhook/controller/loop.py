"""
Recovery at work: it follows Pods, plans every moment, and patches at the configured pace.

Nothing is trusted for long: right before a patch the Pod is read and decided on once more, and
the patch itself tests what it rests on.  What is said about one Pod is that Pod's affair; only
what concerns the API server itself slows all down.
"""

import asyncio
import random
import time

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, Literal

import structlog

from webhook.config import Config
from webhook.controller.messages import Reporter, is_about_the_pod
from webhook.controller.mistakes import begun_again, tell_mistake
from webhook.controller.nodes import Nodes
from webhook.controller.pace import Pace, Turns
from webhook.controller.pods import Case, WaitingPods
from webhook.controller.store import Store
from webhook.controller.watch import LABELLED, PENDING, follow
from webhook.errors import ClusterError, RecoveryError
from webhook.image.availability import State
from webhook.kube.api import Kube, backoff
from webhook.kube.events import Events
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Evidence, Failure
from webhook.recovery.failure import PullFailure
from webhook.recovery.ladder import Memory, Waits
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Cause, Health, HealthSource, LeftReason, Move, Plan, Side
from webhook.recovery.patch import move_patch
from webhook.recovery.plan import Knowledge, plan


__all__ = ["Recovery"]

_TICK: Final = 0.5
_JUDGE_EVERY: Final = 2.0
_BREATHE_EVERY: Final = 200
_LEARNS: Final = 3600.0
"""
So long after it began a controller does not know yet which images are on the nodes, in seconds.
"""
_AT_ONCE: Final = 8
_CHANGED_AGAIN_AFTER: Final = 0.5
_LONGEST_AFTER_CHANGE: Final = 30.0

_log = structlog.get_logger()


class Recovery:
    """
    One run of recovery, for as long as this process is the active controller.
    """

    def __init__(
        self,
        kube: Kube,
        config: Config,
        health: HealthSource,
        *,
        metrics: ControllerMetrics,
        events: Events,
        memory: Store,
        mode: Callable[[str], Literal["enforce", "audit", ""]],
        no_rescue: Callable[[Config], str] = lambda _: "",
        waits: Waits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        Begin with nothing known.

        Args:
            kube: where.
            config: the config file's content.
            health: what is known of Harbor.
            metrics: what is counted.
            events: where people are told.
            memory: what outlives this process.
            mode: the mode of a namespace, by its name.
            no_rescue: why nothing may be rescued by that config; empty where it may.
            waits: how long everything waits, if not as usual.
            clock: a clock that nobody sets, in seconds.
            wall: the time, in seconds since 1970.
        """
        self._kube = kube
        self._health_source = health
        self._metrics = metrics
        self._memory = memory
        self._mode = mode
        self._no_rescue = no_rescue
        self._waits = waits or Waits()
        self._clock = clock
        self._wall = wall
        self._evidence = Evidence(learned=clock() + _LEARNS)
        self._nodes = Nodes(events)
        self._reporter = Reporter(metrics, events)
        self._turns = Turns()
        self._gate = asyncio.Lock()
        self._calm_again = 0.0
        self._troubles = 0
        self._counts: Counter[str] = Counter()
        self._pace = Pace(config.recovery.max_patches_per_second)
        self.pods = WaitingPods(
            config.rules.for_records, self._evidence, metrics, clock, self._waits
        )
        self._policy_for: tuple[object, ...] = ()
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """
        Go by another config from now on.
        """
        self._file = config
        self._rescue_off = self._no_rescue(config)
        rescue = config.recovery.rescue and not self._rescue_off
        self._config = config.recovery.model_copy(update={"rescue": rescue})
        self._pace.per_second = self._config.max_patches_per_second
        if self._rescue_off:
            _log.warning("nothing is rescued", why=self._rescue_off)
        self._take_former()

    def status(self) -> dict[str, Any]:
        """
        Return what waits, and why more is not done about it.
        """
        waiting = sum(bool(case.pod.waiting) for case in self.pods.cases.values())
        off = self._rescue_off or ("" if self._config.rescue else "the config says rescue: false")
        return {
            "waiting": waiting,
            "queued": len(self._turns),
            "rescue": off or "on",
            "toRescue": {name: self._counts[name] for name in ("enforce", "audit")},
            "blockedNodes": sorted(self._nodes.blocked),
            "formerRules": [
                {"registry": rule.host, "project": rule.project}
                for former in self._policy.rules.former
                for rule in former.rules
            ],
        }

    async def run(self) -> None:
        """
        Recover for ever.  Cancel to stop.
        """
        async with asyncio.TaskGroup() as group:
            for watched in (LABELLED, PENDING):
                view = self.pods.view(watched.name)
                group.create_task(follow(self._kube, watched, view, self._metrics))
            for what in (
                self._plan_forever,
                self._judge_forever,
                *[self._patch_forever] * _AT_ONCE,
            ):
                group.create_task(begun_again(what.__name__.strip("_"), what, self._metrics))

    def _take_former(self) -> None:
        """
        Go by the rules that were in force lately, too, for what was rewritten by them.
        """
        wanted = self._file, self._memory.former
        if wanted != self._policy_for:
            self._policy_for = wanted
            policy = self._file.policy
            self._policy = replace(policy, rules=self._memory.former.onto(policy.rules))
            self.pods.rules = self._policy.rules.for_records

    def _knowledge(self) -> Knowledge:
        return Knowledge(
            policy=self._policy,
            config=self._config,
            availability=self._memory.onto(self._health_source.view()),
            health=self._health,
            mode=self._mode,
            waits=self._waits,
        )

    def _health(self, project: str) -> Health:
        state, seconds = self._health_source.since(project)
        suspended = self._memory.suspended(project)
        if suspended is not None and state in (State.AVAILABLE, State.CACHE_ONLY):
            return Health(State.UNAVAILABLE, suspended)
        return Health(state, seconds)

    async def _plan_forever(self) -> None:
        while True:
            started = self._clock()
            if self._config.enabled:
                await self._plan_all()
            # With very many Pods that wait, planning must not take more than a part of the time.
            await asyncio.sleep(max(_TICK, 4 * (self._clock() - started)))

    async def _plan_all(self) -> None:
        self._take_former()
        known = self._knowledge()
        due = []
        counts: Counter[str] = Counter()
        for number, case in enumerate(self.pods):
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            if not case.pod.waiting:
                continue
            try:
                found = self._plan(case, known)
            except Exception:  # noqa: BLE001 -- One Pod must not hold up the others.
                tell_mistake(self._metrics, "pod passed over", uid=case.pod.uid)
                continue
            self._reporter.left(case, found.left)
            rescues = any(move.to is Side.HARBOR for move in (*found.moves, *found.later))
            counts["enforce"] += rescues
            counts["audit"] += bool(found.audited)
            uid = case.pod.uid
            if found.moves and uid not in self._turns and case.not_before <= self._clock():
                due.append((case.pod.namespace, uid))
        self._counts = counts
        for name in ("enforce", "audit"):
            self._metrics.pods_to_rescue.labels(name).set(counts[name])
        random.shuffle(due)
        for namespace, uid in due:
            self._turns.put(namespace, uid)

    def _plan(self, case: Case, known: Knowledge) -> Plan:
        found = plan(case.pod, case.memory, known, now=self._clock(), wall=self._wall())
        if case.labelled and self._memory.ready:
            return found
        # Rules of before may still make sense of it; and whoever has written Harbor's name into a
        # Pod by hand is none of our business.
        left = tuple(e for e in found.left if e.reason is not LeftReason.RECORD_MISMATCH)
        if case.labelled:
            return replace(found, left=left)
        moves = tuple(move for move in found.moves if move.to is Side.HARBOR)
        return replace(found, moves=moves, left=left)

    async def _patch_forever(self) -> None:
        while True:
            # Nobody is chosen before it is time: a slot must not be kept for one who is refused.
            async with self._gate:
                await self._turns.ready()
                await asyncio.sleep(self._calm_again - self._clock())
                await self._pace.turn()
                namespace, uid = await self._turns.next()
            refused: bool | None = None
            try:
                refused = await self._take_turn(uid)
            finally:
                self._turns.done(namespace, uid, refused=refused)

    async def _take_turn(self, uid: str) -> bool | None:
        """
        Move a Pod; return whether that was refused, or None if nothing came of it.
        """
        try:
            refused = await self._move(uid)
        except ClusterError as error:
            self._troubles += 1
            wait = backoff(self._troubles)
            self._calm_again = self._clock() + wait
            self._metrics.recovery_failures.labels("api-error").inc()
            _log.warning("pod not moved", error=str(error), again_in=round(wait, 1))
            refused = None
        except Exception:  # noqa: BLE001 -- This Pod waits, and no other.
            tell_mistake(self._metrics, "pod not moved", uid=uid)
            if case := self.pods.cases.get(uid):
                case.memory = case.memory.unanswered(self._clock(), self._waits)
            refused = True
        else:
            self._troubles = 0
        if refused is not False:
            self._pace.give_back()
        return refused

    async def _move(self, uid: str) -> bool | None:
        """
        Look at a Pod once more, and move what is still to be moved.

        Raises:
            ClusterError: if the API server itself is in trouble.
        """
        case = self.pods.cases.get(uid)
        if case is None:
            return None
        path = f"/api/v1/namespaces/{case.pod.namespace}/pods/{case.pod.name}"
        side, sent = Side.UPSTREAM, False
        try:
            body = await self._kube.get(path)
            if body["metadata"].get("uid") != uid:
                return None  # The watch is about to say so.
            self.pods.seen(body, listed=True)
            if uid not in self.pods.cases:
                return None
            moves = self._plan(case, self._knowledge()).moves
            if not moves:
                return None
            side = moves[0].to
            operations = move_patch(body, moves)
            before = case.memory
            case.memory, sent = before.sending(moves), True
            patched = await self._kube.json_patch(path, operations)
        except RecoveryError as error:
            self._changed(case, str(error))
            return None
        except ClusterError as error:
            return self._failed(case, side, error, sent=sent)
        self._done(case, before, moves, patched)
        return False

    def _failed(self, case: Case, side: Side, error: ClusterError, *, sent: bool) -> bool | None:
        """
        Take what the API server says about one Pod for that Pod's affair.

        So is a patch that was *sent* and not answered in time: the Pod could be read a moment
        before, and a webhook may hold its patch for 30 seconds.

        Raises:
            ClusterError: if it says nothing about the Pod.
        """
        if error.status == HTTPStatus.NOT_FOUND:
            self.pods.gone(case.pod.uid)
            return None
        if error.status == HTTPStatus.UNPROCESSABLE_ENTITY and not error.detailed:
            self._changed(case, str(error))  # A `test` has failed: nobody has refused anything.
            return None
        # It alone waits, for as long as it takes; no other Pod does.
        if sent and error.late:
            case.memory = case.memory.unanswered(self._clock(), self._waits)
        elif is_about_the_pod(error):
            case.memory = case.memory.refused(self._clock(), self._waits)
        else:
            raise error
        self._reporter.refused(case, side, error)
        return True

    def _changed(self, case: Case, why: str) -> None:
        """
        Take note that the Pod has changed under our hands; it is read again, a moment later.
        """
        case.changes += 1
        wait = min(_CHANGED_AGAIN_AFTER * 2.0**case.changes, _LONGEST_AFTER_CHANGE)
        case.not_before = self._clock() + wait
        self._reporter.changed(case, why)

    def _done(
        self, case: Case, before: PodMemory, moves: tuple[Move, ...], patched: dict[str, Any]
    ) -> None:
        now = self._clock()
        version = patched["metadata"].get("resourceVersion") or ""
        number = int(version) if version.isascii() and version.isdigit() else 0
        case.memory = case.memory.moved(moves, now, self._waits, number)
        case.changes, case.not_before = 0, 0.0
        self._reporter.moved(case, moves)
        for move in moves:
            if move.cause is Cause.FAILS and not move.foreign and case.pod.node:
                self._note_failure(case, before.of(move.container.name), move)
        self.pods.seen(patched, listed=True)

    def _note_failure(self, case: Case, before: Memory, move: Move) -> None:
        now = self._clock()
        since = now if before.since is None else before.since
        health = self._health(move.project)
        self._evidence.failed(
            Failure(
                image=move.identity,
                project=move.project,
                node=case.pod.node,
                namespace=case.pod.namespace,
                since=since,
                at=now,
                failure=before.failure or PullFailure.UNKNOWN,
                steady=health.state is State.AVAILABLE and health.seconds >= now - since,
            )
        )

    async def _judge_forever(self) -> None:
        while True:
            if self._config.enabled:
                await self._judge()
            await asyncio.sleep(_JUDGE_EVERY)

    async def _judge(self) -> None:
        now = self._clock()
        verdict = self._evidence.judge(now)
        for image in await self._memory.apply(verdict):
            self._evidence.forget(image)
        self._nodes.tell(verdict.nodes, self.pods, self._policy.rules, now=now, wall=self._wall())
