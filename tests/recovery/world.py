"""
A small model of the world around one container that waits, searched state by state.

Everything in it is made up but for the moves: the controller's real functions read the Pod, remember
it and decide.  Time goes in ticks.  The waits are short, and what lies further back than any wait
reaches is all the same, so there are finitely many states.

While it is searched, the world does whatever it likes: at each tick a pull may be answered in any
way, a probe may be right, old or stale, and a report may be late; between ticks the controller may
be restarted, and somebody may take a move back.  Then, from every state that was reached, the world
holds still in each of its `CALMS`, and it is seen what becomes of the container.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Generic, NamedTuple, TypeVar

from webhook.config import Recovery
from webhook.image.availability import Availability, State
from webhook.image.rules import Rule, Rules
from webhook.pod.decision import Policy
from webhook.pod.model import RECORD_PREFIX
from webhook.recovery.failure import PullFailure
from webhook.recovery.ladder import Closed, Memory, Waits
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Health
from webhook.recovery.plan import Knowledge, plan
from webhook.recovery.waiting import WatchedPod, watched_pod


ORIGINAL = "nginx:1"
AT_HARBOR = "harbor.example.com/p/library/nginx:1"

WAITS = Waits(
    rung=1.0,
    longest_rung=4.0,
    closed=3.0,
    longest_closed=3.0,
    back_off=2.0,
    longest_back_off=2.0,
    quiet=0.5,
    hangs=2.0,
)
CONFIG = Recovery().model_copy(
    update={"after_unavailable": 1.0, "restore_after": 1.0, "rescue_after": 1.0}
)
POLICY = Policy(Rules("harbor.example.com", (Rule("docker.io", "p"),)))

GIVEN_UP = 1
"""
A pull that hangs is given up by the runtime after so many ticks more.
"""

LONG = 9
"""
Longer ago, in ticks, than any wait reaches.
"""

NEVER = 1_000_000

SERVES, HANGS = "serves", "hangs"

ANSWERS: tuple[str, ...] = (
    SERVES,
    HANGS,
    PullFailure.ABSENT,
    PullFailure.DENIED,
    PullFailure.LIMITED,
    PullFailure.UNREACHABLE,
)

_MESSAGES = {
    PullFailure.ABSENT: "{}: not found",
    PullFailure.DENIED: "pull access denied, repository does not exist or may require authorization",
    PullFailure.LIMITED: "unexpected status from HEAD request: 429 Too Many Requests",
    PullFailure.UNREACHABLE: "dial tcp: connect: connection refused",
    PullFailure.KUBELET: "context canceled",
}


class Calm(NamedTuple):
    """
    A world that holds still.

    Attributes:
        harbor: ``up``, ``hanging``, ``refusing``, or ``denying`` while its probe is content.
        cached: Harbor has the image.
        upstream: ``up``, ``limited``, ``closed``, or ``without`` the image.
    """

    harbor: str
    cached: bool
    upstream: str

    def answer(self, image: str) -> str:
        """
        Return what comes of a pull of *image*.
        """
        upstream = {
            "up": SERVES,
            "limited": PullFailure.LIMITED,
            "closed": PullFailure.UNREACHABLE,
            "without": PullFailure.ABSENT,
        }[self.upstream]
        if image == ORIGINAL:
            return upstream
        if self.harbor != "up":
            return {
                "hanging": HANGS,
                "refusing": PullFailure.UNREACHABLE,
                "denying": PullFailure.DENIED,
            }[self.harbor]
        if self.cached or upstream == SERVES:
            return SERVES
        # Harbor says 404 whatever the trouble of its upstream is, but for its limit.
        return PullFailure.LIMITED if upstream == PullFailure.LIMITED else PullFailure.ABSENT

    @property
    def truth(self) -> State:
        """
        Return what a probe finds.
        """
        down = self.harbor in ("hanging", "refusing")
        return State.UNAVAILABLE if down else State.AVAILABLE

    def __str__(self) -> str:
        cached = " and has the image" if self.cached and self.harbor == "up" else ""
        return f"Harbor is {self.harbor}{cached}, the upstream is {self.upstream}"


CALMS = tuple(
    Calm(harbor, cached, upstream)
    for harbor in ("up", "hanging", "refusing", "denying")
    for upstream in ("up", "limited", "closed", "without")
    # Elsewhere it makes no difference.
    for cached in ((True, False) if harbor == "up" and upstream != "up" else (True,))
)


class Shown(NamedTuple):
    """
    What the kubelet says about the container.
    """

    reason: str = "ContainerCreating"
    image: str = ""
    failure: PullFailure | None = None


_Value = TypeVar("_Value", bound=Hashable)


class Table(Generic[_Value]):
    """
    Values by their numbers: a state made of numbers is compared in no time.
    """

    def __init__(self) -> None:
        self._values: list[_Value] = []
        self._numbers: dict[_Value, int] = {}

    def number(self, value: _Value) -> int:
        """
        Return the number of *value*.
        """
        found = self._numbers.setdefault(value, len(self._values))
        if found == len(self._values):
            self._values.append(value)
        return found

    def __getitem__(self, number: int) -> _Value:
        return self._values[number]


SHOWN: Table[Shown] = Table()
MEMORIES: Table[Memory] = Table()


class World(NamedTuple):
    """
    One state.

    Attributes:
        known: what the probe says.
        known_for: for how many ticks.
        image: what stands in the Pod.
        pulling: for how many ticks the kubelet has been pulling; -1 while it backs off.
        pulled: the image that it pulls, or pulled last.
        back_off: for how many ticks it will not pull that image.
        other_back_off: the same for the other image.
        says: what the kubelet has to report: a number in `SHOWN`.
        shown: what the API server shows.
        late: a report is outstanding.
        runs: the container has been started.
        memory: what the controller remembers: a number in `MEMORIES`.
    """

    known: str = State.AVAILABLE.value
    known_for: int = 0
    image: str = AT_HARBOR
    pulling: int = 0
    pulled: str = AT_HARBOR
    back_off: int = 0
    other_back_off: int = 0
    says: int = SHOWN.number(Shown())
    shown: int = SHOWN.number(Shown())
    late: bool = False
    runs: bool = False
    memory: int = MEMORIES.number(Memory())

    @property
    def ended(self) -> bool:
        """
        Tell whether the container runs, and everybody knows it.
        """
        return self.runs and SHOWN[self.shown].reason == "Running"

    def can_run(self, calm: Calm) -> bool:
        """
        Tell whether a source serves the image, and nobody has taken back a move to it.
        """
        memory = MEMORIES[self.memory]
        taken_back = memory.taken_back
        if memory.given and self.image == memory.before:
            taken_back |= {memory.given}  # The controller is about to see it.
        return any(
            calm.answer(image) == SERVES and (image == self.image or image not in taken_back)
            for image in (AT_HARBOR, ORIGINAL)
        )

    def __str__(self) -> str:
        kubelet = "runs it" if self.runs else "pulls" if self.pulling >= 0 else "backs off"
        return (
            f"on {_side(self.image)}, the kubelet {kubelet}, the API server shows"
            f" {SHOWN[self.shown].reason}, the probe says {self.known}"
        )


class Step(NamedTuple):
    """
    What happened, where it led, whether the container was moved, and what is wrong with that.
    """

    what: str
    to: World
    moved: bool = False
    wrong: str = ""


@dataclass
class Controller:
    """
    The controller's real functions, with waits as short as the model's time.

    Attributes:
        waits: how long everything waits.
        stale_is_unavailable: a mutation: what is not known counts as unavailable.
    """

    waits: Waits = WAITS
    stale_is_unavailable: bool = False
    _seen: dict[tuple[object, ...], tuple[int, str, str]] = field(default_factory=dict)

    def look(self, world: World, *, changed: bool) -> tuple[int, str, str]:
        """
        Return the memory after a look at *world*, and the image and cause of a move, if any.
        """
        key = (world.memory, world.image, world.shown, world.known, world.known_for, changed)
        if key not in self._seen:
            self._seen[key] = self._look(world, changed=changed)
        return self._seen[key]

    def _look(self, world: World, *, changed: bool) -> tuple[int, str, str]:
        pod = pod_as_shown(world.image, SHOWN[world.shown])
        state, known_for = State(world.known), float(world.known_for)
        if state is State.UNKNOWN and self.stale_is_unavailable:
            state, known_for = State.UNAVAILABLE, float(LONG)
        memory = PodMemory({"web": MEMORIES[world.memory]}).seen(
            pod, 0.0, self.waits, changed=changed
        )
        decided = plan(
            pod,
            memory,
            Knowledge(
                policy=POLICY,
                config=CONFIG,
                availability=Availability(state, {"p": state}),
                health=lambda _: Health(state, known_for),
                mode=lambda _: "enforce",
                waits=self.waits,
            ),
            now=0.0,
            wall=self.waits.hangs,
        )
        if not decided.moves:
            return MEMORIES.number(memory.of("web")), "", ""
        [move] = decided.moves
        memory = memory.moved([move], 0.0, self.waits)
        return MEMORIES.number(memory.of("web")), move.image, move.cause.value


@cache
def pod_as_shown(image: str, shown: Shown) -> WatchedPod:
    """
    Return the Pod as the API server shows it, read by the real function.
    """
    waiting = {"reason": shown.reason}
    if shown.failure is not None:
        message = _MESSAGES[shown.failure].format(shown.image)
        waiting["message"] = f'failed to pull and unpack image "{shown.image}": {message}'
    condition = {
        "type": "PodScheduled",
        "status": "True",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }
    found = watched_pod(
        {
            "metadata": {
                "name": "web",
                "namespace": "shop",
                "uid": "1",
                "annotations": {f"{RECORD_PREFIX}web": ORIGINAL},
            },
            "spec": {"nodeName": "n", "containers": [{"name": "web", "image": image}]},
            "status": {
                "phase": "Pending",
                "conditions": [condition],
                "containerStatuses": [{"name": "web", "state": {"waiting": waiting}}],
            },
        }
    )
    assert found is not None
    return found


def anything(world: World, controller: Controller) -> Iterator[Step]:
    """
    Yield whatever may happen in a world that does not hold still.
    """
    memory = MEMORIES[world.memory]
    if world.memory:
        yield Step("the controller is restarted", world._replace(memory=0))
    if memory.given and not memory.taken_back:
        yield Step("somebody takes the move back", world._replace(image=memory.before))
    later = _later(world)
    afters = {_kubelet(later, answer): answer for answer in reversed(ANSWERS)}
    for after, answer in afters.items():
        for found in (State.AVAILABLE, State.UNAVAILABLE, State.UNKNOWN):
            yield from _seen_by_controller(world, after, found.value, answer, controller)


def _seen_by_controller(
    before: World, after: World, found: str, answer: str, controller: Controller
) -> Iterator[Step]:
    """
    Let the probe find something, the kubelet report at once or late, and the controller look.
    """
    if found != after.known:
        after = after._replace(known=found, known_for=0)
    what = f"a tick: a pull would be answered {answer!s}, the probe says {found}"
    shown = after._replace(shown=after.says, late=False)
    yield _look(shown, before, what, controller)
    if after.says != after.shown and not before.late:
        yield _look(after._replace(late=True), before, f"{what}, the report is late", controller)


def _look(world: World, before: World, what: str, controller: Controller) -> Step:
    if world.ended:
        return Step(what, world)
    memory, image, cause = controller.look(world, changed=world.shown != before.shown)
    if not image:
        return Step(what, world._replace(memory=memory))
    confirmed = (
        world.known == State.UNAVAILABLE.value and world.known_for >= CONFIG.after_unavailable
    )
    wrong = ""
    if not confirmed and (world.runs or world.pulling >= 0):
        hit = "a container that runs" if world.runs else "a pull in progress"
        wrong = f"{hit} is hit, and Harbor is not known to be unavailable"
    moved = world._replace(memory=memory, image=image, runs=False)
    told = f"{what}; MOVED to {_side(image)} ({cause})"
    return Step(told, moved, moved=True, wrong=wrong)


def _side(image: str) -> str:
    return "Harbor" if image == AT_HARBOR else "the upstream"


def _later(world: World) -> World:
    """
    Return *world* one tick later, with all that is long ago the same.
    """
    memory, known_for = _aged(world.memory, world.known, world.known_for)
    return world._replace(
        known_for=known_for,
        back_off=max(world.back_off - 1, 0),
        other_back_off=max(world.other_back_off - 1, 0),
        memory=memory,
    )


@cache
def _aged(number: int, known: str, known_for: int) -> tuple[int, int]:
    """
    Return a memory, and how long something has been *known*, one tick later.

    All that is asked of the time that a project has been available is whether Harbor's side was
    closed before it or after.
    """
    memory = MEMORIES[number]
    known_for += 1
    harbor, upstream = _closed(memory.harbor), _closed(memory.upstream)
    if known == State.UNAVAILABLE.value:
        known_for = min(known_for, int(CONFIG.after_unavailable))
    elif known == State.AVAILABLE.value and harbor is not None and harbor.until > 0:
        known_for = 0 if known_for < -harbor.at else LONG
    else:
        known_for = 0
    if harbor is not None and harbor.until > 0:
        harbor = replace(harbor, at=-1.0)
    moves = min(memory.moves, 3)
    waited = max(WAITS.before_move(moves), WAITS.hangs)
    aged = replace(
        memory,
        since=None if memory.since is None else -1.0,
        failures=min(memory.failures, 1),
        failed_at=None if memory.failed_at is None else -1.0,
        moves=moves,
        moved_at=max(memory.moved_at - 1, -waited) if moves else 0.0,
        harbor=harbor,
        upstream=replace(upstream, at=0.0) if upstream else None,
    )
    return MEMORIES.number(aged), known_for


def _closed(closed: Closed | None) -> Closed | None:
    if closed is None or closed.until <= 1:
        return None
    # A mutation closes for ever.
    until = closed.until if closed.until > LONG else closed.until - 1
    return Closed(closed.at - 1, until, 1)


def _kubelet(world: World, answer: str) -> World:
    """
    Let the kubelet go on, with *answer* to whatever it pulls.

    It does not break off a pull, it starts another image without the back-off of the one before,
    and while it pulls it goes on to say what it said before.
    """
    if world.runs:
        return world
    if world.pulling >= 0:
        return _pull(world, answer)
    if world.image != world.pulled:
        world = world._replace(
            pulled=world.image,
            back_off=world.other_back_off,
            other_back_off=world.back_off,
        )
    if world.back_off == 0:
        return _pull(world._replace(pulling=0), answer)
    said = SHOWN[world.says]
    if said.image == world.image:
        backs_off = SHOWN.number(said._replace(reason="ImagePullBackOff"))
        return world._replace(says=backs_off)
    return world


def _pull(world: World, answer: str) -> World:
    if answer == SERVES and world.pulling >= 1:
        if world.pulled != world.image:
            # It starts, and is killed at once for the new image.
            return world._replace(pulling=-1, back_off=0)
        running = SHOWN.number(Shown("Running", world.image))
        return world._replace(pulling=-1, runs=True, says=running)
    if answer == SERVES or (answer == HANGS and world.pulling < GIVEN_UP):
        return world._replace(pulling=world.pulling + 1)
    failure = answer if isinstance(answer, PullFailure) else PullFailure.KUBELET
    return world._replace(
        pulling=-1,
        back_off=int(WAITS.back_off),
        says=SHOWN.number(Shown("ErrImagePull", world.pulled, failure)),
    )


STARTS = (World(), World(image=ORIGINAL, pulled=ORIGINAL))


@dataclass
class Search:
    """
    All states that can be reached.

    Attributes:
        controller: who moves.
        came: by state, the one before and what happened.
        still: what a tick brings that answers and is probed in one way, and is not late.
        wrong: moves that should not have been made.
    """

    controller: Controller
    came: dict[World, tuple[World | None, str]] = field(default_factory=dict)
    still: dict[tuple[World, str, str], Step] = field(default_factory=dict)
    wrong: list[tuple[World, Step]] = field(default_factory=list)

    def run(self, *, until_wrong: bool = False) -> "Search":
        """
        Search until nothing new is found, or until the first move that is wrong.
        """
        self.came.update(dict.fromkeys(STARTS, (None, "")))
        queue = deque(STARTS)
        while queue and not (until_wrong and self.wrong):
            world = queue.popleft()
            if world.ended:
                continue
            for step in anything(world, self.controller):
                if step.wrong:
                    self.wrong.append((world, step))
                if step.to not in self.came:
                    self.came[step.to] = world, step.what
                    queue.append(step.to)
        return self

    def in_calm(self, world: World, calm: Calm) -> Step:
        """
        Return what a tick brings while the world holds still: the probe is right, no report late.
        """
        answer = calm.answer(world.image if world.pulling < 0 else world.pulled)
        key = world, answer, calm.truth.value
        if key not in self.still:
            after = _kubelet(_later(world), answer)
            steps = _seen_by_controller(world, after, calm.truth.value, answer, self.controller)
            self.still[key] = next(steps)
        return self.still[key]

    def story(self, world: World, *ends: str) -> str:
        """
        Tell how *world* came about, and how it *ends*, one line per step.
        """
        lines = [*reversed(ends), f"so the container is {world}"]
        at: World | None = world
        while at is not None:
            at, what = self.came[at]
            lines.append(what or "a Pod is created")
        return "\n".join(lines[::-1])


@dataclass
class Standstill:
    """
    What becomes of every state while the world holds still in one way.
    """

    search: Search
    calm: Calm

    def __post_init__(self) -> None:
        self._worlds = list(self.search.came)
        number = {world: place for place, world in enumerate(self._worlds)}
        self._next = list(range(len(self._worlds)))
        self._moved = [0] * len(self._worlds)
        for place, world in enumerate(self._worlds):
            if not world.ended:
                step = self.search.in_calm(world, self.calm)
                self._next[place] = number[step.to]
                self._moved[place] = int(step.moved)

    def slowest(self) -> tuple[int, list[World]]:
        """
        Return how many ticks it takes at most until the container runs, and where it never does.

        It is asked of all states in which a source can serve the image.
        """
        ticks: list[int | None] = [0 if world.ended else None for world in self._worlds]
        for start in range(len(ticks)):
            path = []
            place = start
            while ticks[place] is None:
                ticks[place] = NEVER  # Whoever comes here again goes in circles.
                path.append(place)
                place = self._next[place]
            for place in reversed(path):
                ticks[place] = min((ticks[self._next[place]] or 0) + 1, NEVER)
        able = [n for n, world in enumerate(self._worlds) if world.can_run(self.calm)]
        stranded = [self._worlds[n] for n in able if ticks[n] == NEVER]
        return max((ticks[n] or 0 for n in able if ticks[n] != NEVER), default=0), stranded

    def tell(self, world: World, ticks: int = 12) -> str:
        """
        Tell how *world* came about, and what becomes of it in the next *ticks*.
        """
        lines = [self.search.story(world), f"from now on {self.calm}"]
        for _ in range(ticks):
            step = self.search.in_calm(world, self.calm)
            lines.append(step.what)
            world = step.to
        return "\n".join((*lines, f"and so it goes on, {world}"))

    def most_moves(self, doublings: int) -> tuple[int, World]:
        """
        Return how often a container is moved at most within 2 to the *doublings* ticks, and where.
        """
        moved, nexts = self._moved, self._next
        for _ in range(doublings):
            moved = [m + moved[to] for m, to in zip(moved, nexts, strict=True)]
            nexts = [nexts[to] for to in nexts]
        most = max(moved)
        return most, self._worlds[moved.index(most)]


def shortest(search: Search, worlds: Iterable[World]) -> World:
    """
    Return the state with the shortest story: that which was found first.
    """
    wanted = set(worlds)
    return next(world for world in search.came if world in wanted)
