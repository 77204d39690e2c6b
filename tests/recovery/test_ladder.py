"""
The history of one container, and what it permits.
"""

from dataclasses import replace

import pytest

from tests.support.recovery_pods import creating, ended, pod, waiting
from webhook.image.availability import State
from webhook.pod.model import Place
from webhook.recovery.failure import PullFailure
from webhook.recovery.ladder import Memory, Waits
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Cause, Health, Move, Side
from webhook.recovery.waiting import WaitingContainer, watched_pod


AT_HARBOR = "harbor.example.com/proxy.docker.io/library/nginx:1"
UPSTREAM = "nginx:1"
WAITS = Waits()
FINE = Health(State.AVAILABLE, 1e6)
LONG_AGO = 1e5


def waits_for(image, reason="ErrImagePull", failure=PullFailure.LIMITED, *, about=""):
    """
    Return a container as the kubelet shows it.
    """
    message = f'failed to pull "{about or image}"'
    return WaitingContainer(
        place=Place.CONTAINERS,
        index=0,
        status_index=0,
        name="web",
        image=image,
        record=UPSTREAM,
        reason=reason,
        names_image=not about,
        volume_image="",
        may_hang=False,
        failure=failure,
        message=message,
    )


def move_to(side, cause=None):
    """
    Return a move of the container to one of its two images.
    """
    image = AT_HARBOR if side is Side.HARBOR else UPSTREAM
    cause = cause or (Cause.UPSTREAM_LIMITED if side is Side.HARBOR else Cause.FAILS)
    return Move(
        waits_for(UPSTREAM), side, image, "docker.io/library/nginx:1", "p", State.AVAILABLE, cause
    )


def failed(memory, image, at, failure=PullFailure.LIMITED):
    """
    Let one more attempt fail, seen as it happens; the back-off before it is seen as well.
    """
    memory = memory.seen(waits_for(image, "ImagePullBackOff"), at - 1, WAITS, changed=True)
    return memory.seen(waits_for(image, failure=failure), at, WAITS, changed=True)


@pytest.mark.parametrize(
    ("failures", "quiet"), [(1, 8.0), (2, 16.0), (3, 32.0), (5, 128.0), (6, 240.0), (50, 240.0)]
)
def test_the_quiet_window_grows_with_the_back_off(failures, quiet):
    """
    After n failures in a row the first 80 % of the back-off (10 s, doubling up to 300 s) are quiet.
    """
    memory = Memory()
    for number in range(failures):
        memory = failed(memory, UPSTREAM, 300.0 * number)
    last = 300.0 * (failures - 1)

    assert memory.is_quiet(last, WAITS)
    assert memory.is_quiet(last + quiet - 0.01, WAITS)
    assert not memory.is_quiet(last + quiet, WAITS)


def test_what_was_listed_opens_no_quiet_window():
    """
    Nobody knows how old a failure is that was listed, so the next one is waited for.
    """
    memory = Memory().seen(waits_for(UPSTREAM), 100.0, WAITS, changed=False)

    assert 100.0 == memory.since
    assert not memory.is_quiet(100.0, WAITS)


def test_the_same_failure_told_twice_is_one():
    """
    A second change of the Pod, about something else, is no second failure.
    """
    memory = failed(Memory(), UPSTREAM, 100.0)

    again = memory.seen(waits_for(UPSTREAM), 105.0, WAITS, changed=True)

    assert (1, 100.0) == (again.failures, again.failed_at)


def test_the_kubelet_forgets_its_back_off():
    """
    After a pull that took long the kubelet begins at 10 s again, and so does the window.
    """
    memory = failed(failed(Memory(), UPSTREAM, 0.0), UPSTREAM, 20.0)

    memory = failed(memory, UPSTREAM, 620.0)

    assert 1 == memory.failures


def test_a_move_needs_the_quiet_window():
    """
    A rescue, and a restore while Harbor is there, is sent only while the kubelet surely waits.
    """
    memory = failed(Memory(), UPSTREAM, 100.0)
    rescue = move_to(Side.HARBOR)

    assert memory.permits(rescue, FINE, 107.0, WAITS)
    assert not memory.permits(rescue, FINE, 109.0, WAITS)


@pytest.mark.parametrize("cause", [Cause.UNAVAILABLE, Cause.HANGS])
def test_a_confirmed_outage_waits_for_no_window(cause):
    """
    Where nothing can come of the pull, the first restore is sent at once.
    """
    memory = Memory().seen(waits_for(AT_HARBOR), 100.0, WAITS, changed=False)

    assert memory.permits(move_to(Side.UPSTREAM, cause), FINE, 100.0, WAITS)


def moved(memory, side, at):
    """
    Move the container, and let the new image fail at once.
    """
    move = move_to(side)
    memory = memory.moved(side, move.image, at, WAITS)
    return failed(memory, move.image, at + 5)


def test_each_further_move_waits_twice_as_long():
    """
    The rungs are 30 s, 60 s, … and 10 min at most, counted from the last move.
    """
    memory, now, waited = failed(Memory(), UPSTREAM, 0.0), 0.0, []
    for number in range(8):
        side = (Side.HARBOR, Side.UPSTREAM)[number % 2]
        if number:
            waits = next(
                wait
                for wait in range(0, 700, 5)
                if failed(memory, memory.image, now + wait).permits(
                    move_to(side), FINE, now + wait, WAITS
                )
            )
            waited.append(waits)
            now += waits
            memory = failed(memory, memory.image, now)
        memory = moved(memory, side, now)

    assert [30, 60, 120, 240, 480, 600, 600] == waited


def test_a_further_move_needs_a_fresh_failure():
    """
    What the kubelet says of the image before is no failure of the new one.
    """
    memory = failed(Memory(), UPSTREAM, 0.0).moved(Side.HARBOR, AT_HARBOR, 10.0, WAITS)
    restore = move_to(Side.UPSTREAM, Cause.UNAVAILABLE)

    stale = memory.seen(waits_for(AT_HARBOR, about=UPSTREAM), 12.0, WAITS, changed=True)
    backing_off = stale.seen(waits_for(AT_HARBOR, "ImagePullBackOff"), 20.0, WAITS, changed=True)
    fresh = stale.seen(waits_for(AT_HARBOR), 50.0, WAITS, changed=True)

    assert not stale.permits(restore, FINE, 60.0, WAITS)
    assert not backing_off.permits(restore, FINE, 60.0, WAITS)
    assert fresh.permits(restore, FINE, 60.0, WAITS)


def test_a_source_that_has_spoken_is_closed():
    """
    Absent and denied close what the container leaves for 10 min, then for 20, and for 6 h at most.
    """
    memory, closed = Memory(), []
    now = 0.0
    for _ in range(8):
        memory = failed(memory, AT_HARBOR, now, PullFailure.ABSENT)
        memory = memory.moved(Side.UPSTREAM, UPSTREAM, now, WAITS)
        closed.append(memory.harbor.until - now)
        now = memory.harbor.until
        memory = memory.moved(Side.HARBOR, AT_HARBOR, now, WAITS)

    assert [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600] == closed


def test_a_closed_source_is_not_moved_to():
    """
    The container stays where it is until the source is open again.
    """
    memory = failed(Memory(), AT_HARBOR, 0.0, PullFailure.DENIED)
    memory = memory.moved(Side.UPSTREAM, UPSTREAM, 0.0, WAITS)

    at = {now: failed(memory, UPSTREAM, now) for now in (599.0, 600.0)}

    assert not at[599.0].permits(move_to(Side.HARBOR), FINE, 599.0, WAITS)
    assert at[600.0].permits(move_to(Side.HARBOR), FINE, 600.0, WAITS)


def test_harbor_is_open_again_once_it_has_recovered():
    """
    What Harbor said before its project re-entered `available` counts no more; an upstream stays.
    """
    memory = failed(Memory(), AT_HARBOR, 0.0, PullFailure.ABSENT)
    memory = memory.moved(Side.UPSTREAM, UPSTREAM, 0.0, WAITS)
    memory = failed(memory, UPSTREAM, 100.0, PullFailure.ABSENT)
    rescue = move_to(Side.HARBOR)

    assert not memory.permits(rescue, Health(State.AVAILABLE, 200.0), 101.0, WAITS)
    assert not memory.permits(rescue, Health(State.CACHE_ONLY, 10.0), 101.0, WAITS)
    assert memory.permits(rescue, Health(State.AVAILABLE, 10.0), 101.0, WAITS)

    memory = moved(memory, Side.HARBOR, 101.0)
    memory = failed(memory, AT_HARBOR, 300.0)
    assert not memory.permits(move_to(Side.UPSTREAM), Health(State.AVAILABLE, 10.0), 301.0, WAITS)


def test_a_move_that_was_taken_back_is_remembered():
    """
    Whoever writes the old image over ours is not overruled again.
    """
    memory = failed(Memory(), UPSTREAM, 0.0).moved(Side.HARBOR, AT_HARBOR, 1.0, WAITS)

    memory = memory.seen(waits_for(UPSTREAM), 20.0, WAITS, changed=True)

    assert frozenset({AT_HARBOR}) == memory.taken_back


def test_another_image_is_no_taking_back():
    """
    A new image, which somebody sets after our move, begins anew.
    """
    memory = failed(Memory(), UPSTREAM, 0.0).moved(Side.HARBOR, AT_HARBOR, 1.0, WAITS)

    memory = memory.seen(waits_for("nginx:2"), 20.0, WAITS, changed=True)

    assert (frozenset(), 1, 20.0) == (memory.taken_back, memory.moves, memory.since)


def test_a_patch_whose_answer_was_lost_is_a_move():
    """
    The watch shows what became of a patch, whether before its answer or instead of it.
    """
    rescue = move_to(Side.HARBOR)
    memory = failed(Memory(), UPSTREAM, 0.0).sending(rescue)

    memory = memory.seen(waits_for(AT_HARBOR, about=UPSTREAM), 20.0, WAITS, changed=True)

    assert (1, 20.0, AT_HARBOR) == (memory.moves, memory.moved_at, memory.given)
    assert memory == memory.moved(Side.HARBOR, AT_HARBOR, 21.0, WAITS)


def test_a_container_that_runs_forgets_its_failures_but_not_its_moves():
    """
    A pull that fails after a restart, days later, is judged by itself.
    """
    memory = moved(failed(Memory(), UPSTREAM, 0.0), Side.HARBOR, 1.0)

    memory = memory.runs(AT_HARBOR, 50.0, WAITS)

    assert (None, 0, 1, AT_HARBOR) == (memory.since, memory.failures, memory.moves, memory.given)


def test_a_bare_back_off_keeps_the_class():
    """
    A kubelet before 1.31 says why only once; what it says then is kept.
    """
    memory = failed(Memory(), UPSTREAM, 0.0, PullFailure.NODE)

    memory = memory.seen(
        replace(waits_for(UPSTREAM, "ImagePullBackOff"), failure=None), 5.0, WAITS, changed=True
    )

    assert PullFailure.NODE is memory.failure


def test_waits_never_overflow():
    """
    However often something happened, a wait stays at its bound.
    """
    assert 600.0 == WAITS.before_move(10**6)
    assert 21600.0 == WAITS.closed_for(10**6)
    assert LONG_AGO > WAITS.before_retry(10**6)


def test_containers_of_one_image_share_their_failures():
    """
    The kubelet backs off by Pod and image: one container's attempt opens the window of all.
    """
    image = "web:1"
    statuses = [
        waiting("build", image),
        waiting("helper", image, reason="ImagePullBackOff"),
        waiting("other", "else:1", reason="ImagePullBackOff"),
    ]
    images = {"build": image, "helper": image, "other": "else:1"}
    seen = watched_pod(pod(images, statuses))
    memory = PodMemory().seen(seen, 100.0, Waits(), changed=True)

    assert memory.of("helper").is_quiet(104.0, Waits())
    assert 1 == memory.of("helper").failures
    assert not memory.of("other").is_quiet(104.0, Waits())


def test_a_container_that_comes_later_knows_the_failures_of_the_one_before():
    """
    A container that waits behind a moved init container with the same image is in its window.
    """
    image, cached = "web:1", "harbor.example/proxy.docker.io/library/web:1"
    first = {"name": "first", "image": image}
    pending = creating("web", image, reason="PodInitializing")
    before = pod({"web": image}, [pending], init=[first], init_statuses=[waiting("first", image)])
    after = pod(
        {"web": image},
        [waiting("web", image, reason="ImagePullBackOff")],
        init=[{**first, "image": cached}],
        init_statuses=[ended("first", cached)],
    )
    memory = PodMemory().seen(watched_pod(before), 100.0, Waits(), changed=True)
    memory = memory.seen(watched_pod(after), 103.0, Waits(), changed=True)

    assert memory.of("web").is_quiet(104.0, Waits())
    assert not memory.of("web").is_quiet(109.0, Waits())
