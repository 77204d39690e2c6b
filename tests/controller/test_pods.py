import sys
import time
import tracemalloc

from dataclasses import replace

import pytest

from tests.support.recovery_pods import HARBOR, UID, creating, pod, running, waiting
from webhook.controller.pods import WaitingPods
from webhook.image.rules import Rule, Rules
from webhook.kube.listing import Head
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Evidence, Failure
from webhook.recovery.failure import PullFailure
from webhook.recovery.ladder import Waits
from webhook.recovery.move import Side


CACHED = f"{HARBOR}/proxy.docker.io/library/nginx:1"
RULES = Rules(HARBOR, (Rule("docker.io", "proxy.docker.io"),)).for_records


class Clock:
    """
    A clock that stands until it is set.
    """

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def evidence():
    return Evidence()


@pytest.fixture
def metrics():
    return ControllerMetrics()


@pytest.fixture
def pods(clock, evidence, metrics):
    return WaitingPods(RULES, evidence, metrics, clock, Waits())


def stuck(status=None):
    """
    Return a Pod with one container that waits.
    """
    return pod({"web": CACHED}, [status or waiting("web", CACHED)], records={"web": "nginx:1"})


def test_the_first_failure_counts(pods, clock):
    """
    From one failure to the next, and while the kubelet tries again, the time goes on.
    """
    pods.seen(stuck(), listed=True)
    clock.now = 110.0
    pods.seen(stuck(waiting("web", CACHED, "ImagePullBackOff")), listed=False)
    pods.seen(stuck(creating("web", CACHED)), listed=False)
    pods.seen(stuck(), listed=False)

    assert 100.0 == pods.cases[UID].memory.of("web").since


def test_another_image_counts_anew(pods, clock):
    """
    Somebody sets another image: its failures begin with it.
    """
    pods.seen(stuck(), listed=True)
    clock.now = 110.0
    other = CACHED.replace("nginx", "redis")
    pods.seen(pod({"web": other}, [waiting("web", other)]), listed=False)

    assert 110.0 == pods.cases[UID].memory.of("web").since


def test_what_runs_is_not_kept(pods):
    """
    A Pod that waits for nothing takes no memory.
    """
    pods.seen(stuck(), listed=True)
    pods.seen(stuck(running("web", CACHED)), listed=False)

    assert {} == pods.cases


def test_a_deleted_pod_is_forgotten(pods):
    """
    Whichever way a Pod goes, nothing of it stays; but one watch alone does not decide that.
    """
    for view in ("labelled", "pending"):
        pods.view(view).seen(stuck(), listed=True)

    pods.view("labelled").all_listed(frozenset({UID}))
    pods.view("pending").gone(UID)
    assert {UID} == pods.cases.keys()

    pods.view("labelled").all_listed(frozenset())
    assert {} == pods.cases


def test_a_pod_that_was_moved_is_remembered_while_it_runs(pods, clock):
    """
    Else a container that fails at a restart would be moved to and fro without ever waiting longer.
    """
    view = pods.view("labelled")
    view.seen(stuck(), listed=True)
    case = pods.cases[UID]
    memory = case.memory.of("web").moved(Side.UPSTREAM, "nginx:1", clock.now, Waits())
    case.memory = replace(case.memory, containers={"web": memory})
    view.seen(pod({"web": "nginx:1"}, [running("web", "nginx:1")]), listed=False)

    assert 1 == pods.cases[UID].memory.of("web").moves

    view.gone(UID)
    assert {} == pods.cases


def test_what_an_old_event_says_is_not_believed(pods):
    """
    Two watches tell of one Pod, and one of them may be late.
    """
    newer, older = stuck(), stuck(running("web", CACHED))
    newer["metadata"]["resourceVersion"], older["metadata"]["resourceVersion"] = "10", "9"
    pods.view("labelled").seen(newer, listed=False)
    pods.view("pending").seen(older, listed=False)

    assert pods.cases[UID].pod.waiting


def test_a_large_pod_is_let_go_and_told_once(pods, metrics):
    """
    It can't be looked at any more, whatever it waits for.
    """
    pods.view("labelled").seen(stuck(), listed=True)
    for _ in range(3):
        pods.view("labelled").too_large(Head("shop", "web", UID, "10"))

    assert {} == pods.cases
    value = metrics.registry.get_sample_value
    assert 1 == value("harbor_cache_recovery_failures_total", {"cause": "too-large"})


def test_a_pod_that_ends_is_forgotten(pods):
    """
    A Pod that is being deleted is none of our business any more.
    """
    pods.seen(stuck(), listed=True)
    ending = stuck()
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pods.seen(ending, listed=False)

    assert {} == pods.cases


@pytest.mark.parametrize("before", ["failed", "created"])
def test_a_pull_that_failed_first_has_been_made(metrics, clock, before):
    """
    What failed and then starts was pulled; what just starts may have been on the node for long.
    """
    evidence = Evidence(learned=3600.0)
    pods = WaitingPods(RULES, evidence, metrics, clock, Waits())
    for node in ("node1", "node2"):
        evidence.failed(
            Failure(
                "docker.io/library/nginx:1",
                "proxy.docker.io",
                node,
                "a",
                90.0,
                99.0,
                PullFailure.ABSENT,
            )
        )
    status = waiting("web", CACHED) if before == "failed" else creating("web", CACHED)
    pods.seen(stuck(status), listed=True)
    pods.seen(stuck(running("web", CACHED)), listed=False)

    assert (before == "created") == bool(evidence.judge(100.0).images)


@pytest.mark.parametrize(("listed", "judged"), [(True, 0), (False, 1)])
def test_only_a_start_that_was_seen_proves_a_pull(pods, evidence, clock, listed, judged):
    """
    A container that runs already when we begin to look may have been pulled long ago.
    """
    evidence.failed(
        Failure(
            "docker.io/a:1", "proxy.docker.io", "node1", "shop", 90.0, 95.0, PullFailure.ABSENT
        )
    )

    pods.seen(stuck(running("web", CACHED)), listed=listed)

    assert judged == len(evidence.judge(clock.now).images)


def test_thousands_of_pods_that_wait(pods):
    """
    Every Pod of a large cluster waits at once: little memory, and quickly read.
    """
    bodies = []
    for number in range(2_000):
        body = stuck()
        body["metadata"]["uid"] = f"{number:08}"
        body["metadata"]["name"] = f"web-{number}"
        bodies.append(body)
    started = time.perf_counter()
    tracemalloc.start()
    try:
        for body in bodies:
            pods.seen(body, listed=True)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    took = time.perf_counter() - started
    print(f"2,000 waiting Pods: {size / 2**20:.1f} MiB, {took:.1f} s under tracemalloc")

    assert 2_000 == len(pods.cases)
    assert size < 2_000 * sys.getsizeof({}) * 50
