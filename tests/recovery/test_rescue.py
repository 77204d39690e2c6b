"""
Which containers that wait for their upstream are sent to Harbor.
"""

import jsonpatch
import pytest

from tests.support.recovery_pods import HARBOR, SCHEDULED, pod, running, waiting
from webhook.config import Recovery
from webhook.image.availability import Availability, State
from webhook.image.rules import Rule, Rules
from webhook.pod.decision import Policy
from webhook.pod.model import MODE_LABEL, RECORD_PREFIX, REWRITTEN_LABEL
from webhook.recovery.ladder import Memory, Waits
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Cause, Health, LeftReason, Side
from webhook.recovery.patch import move_patch
from webhook.recovery.plan import Knowledge, plan
from webhook.recovery.waiting import watched_pod


IMAGE = "nginx:1"
CACHED = f"{HARBOR}/proxy.docker.io/library/nginx:1"
RULES = Rules(HARBOR, (Rule("docker.io", "proxy.docker.io"),))
LIMITED = (
    f'failed to pull "{IMAGE}": unexpected status from HEAD request to u: 429 Too Many Requests'
)
WAITS = Waits()


def stuck(message=LIMITED, image=IMAGE, **how):
    """
    Return a Pod that was never rewritten, and waits for its upstream.
    """
    body = pod({"web": image}, [waiting("web", image, message=message)], **how)
    body["metadata"]["labels"] = {"app": "web"}
    body["metadata"]["annotations"] = None
    return body


def planned(
    body,
    *,
    policy=None,
    state=State.AVAILABLE,
    mode="enforce",
    quarantined=(),
    config=None,
    since=-30.0,
    failed_at=0.0,
    **memory,
):
    """
    Plan for a Pod whose container has been failing for half a minute, and just failed again.
    """
    watched = watched_pod(body)
    containers = {
        c.name: Memory(
            c.image,
            reason=c.reason,
            since=since,
            failures=1,
            failed_at=failed_at,
            failure=c.failure,
            **memory,
        )
        for c in watched.waiting
    }
    known = Knowledge(
        policy=policy or Policy(RULES),
        config=config or Recovery(),
        availability=Availability(
            State.AVAILABLE, {"proxy.docker.io": state}, frozenset(quarantined)
        ),
        health=lambda project: Health(state, 3600.0),
        mode=lambda namespace: mode,
    )
    return plan(watched, PodMemory(containers), known, now=0.0, wall=SCHEDULED + 60)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (LIMITED, Cause.UPSTREAM_LIMITED),
        (f'failed to pull "{IMAGE}": {IMAGE}: not found', Cause.UPSTREAM_ABSENT),
        (f'failed to pull "{IMAGE}": pull access denied', Cause.UPSTREAM_DENIED),
        (f'failed to pull "{IMAGE}": dial tcp: connection refused', Cause.UPSTREAM_UNREACHABLE),
        (f'failed to pull "{IMAGE}": something new', Cause.UPSTREAM_FAILS),
        (f'Back-off pulling image "{IMAGE}"', Cause.UPSTREAM_FAILS),
    ],
)
def test_a_container_that_waits_for_its_upstream_is_rescued(message, cause):
    """
    Whatever the upstream's trouble is, Harbor is asked.
    """
    [move] = planned(stuck(message)).moves

    assert (Side.HARBOR, CACHED, cause) == (move.to, move.image, move.cause)
    assert ("docker.io/library/nginx:1", "proxy.docker.io") == (move.identity, move.project)


def test_the_patch_is_that_of_admission():
    """
    Image, record and label change in one patch, and nothing else; no map is wiped.
    """
    body = stuck()
    [move] = planned(body).moves

    operations = move_patch(body, [move])
    testable = [o for o in operations if (o["op"], o["value"]) != ("test", None)]
    result = jsonpatch.apply_patch(body, testable)

    assert CACHED == result["spec"]["containers"][0]["image"]
    assert {"app": "web", REWRITTEN_LABEL: "true"} == result["metadata"]["labels"]
    assert {f"{RECORD_PREFIX}web": IMAGE} == result["metadata"]["annotations"]
    assert {"op": "test", "path": "/metadata/annotations", "value": None} in operations
    assert not [o for o in operations if o["path"] == "/metadata/labels"]


@pytest.mark.parametrize(
    "message",
    [
        "pull QPS exceeded",
        "context canceled",
        "failed to extract layer: no space left on device",
        "no match for platform in manifest: not found",
    ],
)
def test_no_rescue_follows_a_fault_of_the_node(message):
    """
    Another source would not help.
    """
    assert not planned(stuck(f'failed to pull "{IMAGE}": {message}')).moves


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"since": -29.0}, "not for long enough"),
        ({"failed_at": -9.0}, "outside of the quiet window"),
        ({"failed_at": None}, "no failure was seen"),
        ({"state": State.UNAVAILABLE}, "the project is down"),
        ({"state": State.UNKNOWN}, "nothing is known"),
        ({"mode": ""}, "the namespace has not opted in"),
        ({"mode": "audit"}, "the namespace is in audit"),
        ({"policy": Policy(RULES, mode="audit")}, "the config is in audit"),
        ({"policy": Policy(RULES, paused=True)}, "paused"),
        ({"policy": Policy(RULES, pull_secrets=("harbor",))}, "its secrets can't be added"),
        ({"quarantined": ["docker.io/library/nginx:1"]}, "quarantined"),
        ({"config": Recovery(rescue=False)}, "switched off"),
        ({"moves": 1, "moved_at": -29.0, "fresh": True}, "the rung"),
        ({"moves": 1, "moved_at": -31.0, "fresh": False}, "no fresh failure"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stands_in_the_way_of_a_rescue(how, why):
    """
    Each of these keeps the container where it is.
    """
    assert not planned(stuck(), **how).moves, why


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {MODE_LABEL: "off"}}},
        {"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"status": {"phase": "Failed"}},
    ],
)
def test_pods_that_are_not_rescued(change):
    """
    Who opted out, what the kubelet runs by itself, and what is gone.
    """
    body = stuck()
    for part, values in change.items():
        body[part].update(values)
    watched = watched_pod(body)

    assert watched is None or not planned(body).moves


def test_secrets_that_the_pod_carries_do():
    """
    With pull secrets configured, a Pod that has them already is rescued.
    """
    policy = Policy(RULES, pull_secrets=("harbor",))
    body = stuck(imagePullSecrets=[{"name": "hub"}, {"name": "harbor"}])

    assert planned(body, policy=policy).moves


def test_audit_counts_what_it_would_rescue():
    """
    In audit mode nothing is moved, and it is said what would be.
    """
    result = planned(stuck(), mode="audit")

    assert ((), [CACHED]) == (result.moves, [move.image for move in result.audited])


def test_a_rescue_that_waits_for_its_window_is_told():
    """
    What the ladder or the window holds back stands in `later`.
    """
    result = planned(stuck(), failed_at=-9.0)

    assert ((), [CACHED]) == (result.moves, [move.image for move in result.later])


def test_a_rescue_that_was_taken_back_is_not_made_again():
    """
    It is told instead.
    """
    result = planned(stuck(), taken_back=frozenset({CACHED}))

    assert ((), [LeftReason.TAKEN_BACK]) == (result.moves, [entry.reason for entry in result.left])


def test_running_containers_are_never_rescued():
    """
    Beside a container that runs, only the waiting one is moved.
    """
    body = pod(
        {"web": IMAGE, "side": IMAGE},
        [running("web", IMAGE), waiting("side", IMAGE, message=LIMITED)],
    )

    assert ["side"] == [move.container.name for move in planned(body).moves]


def test_never_pulled_containers_are_not_rescued():
    """
    ``imagePullPolicy: Never`` asks no source.
    """
    body = stuck()
    body["spec"]["containers"][0]["imagePullPolicy"] = "Never"

    assert not planned(body).moves


def test_the_answer_to_a_patch_overtakes_both_watches():
    """
    A Pod that is older than what is known changes nothing: it is no taking back.
    """
    body = stuck()
    body["metadata"]["resourceVersion"] = "7"
    memory = PodMemory().seen(watched_pod(body), 0.0, WAITS, changed=True)
    [move] = planned(body).moves

    memory = memory.sending([move]).moved([move], 1.0, WAITS, version=9)
    again = memory.seen(watched_pod(body), 2.0, WAITS, changed=True)

    assert memory is again
    assert frozenset() == again.of("web").taken_back


def test_refusals_wait_for_this_pod_alone():
    """
    Each refusal of a patch doubles the wait of this Pod, up to 5 minutes; a move ends that.
    """
    memory, waited, now = PodMemory(), [], 0.0
    for _ in range(9):
        memory = memory.refused(now, WAITS)
        waited.append(memory.not_before - now)
        now = memory.not_before
    [move] = planned(stuck()).moves

    assert [5, 10, 20, 40, 80, 160, 300, 300, 300] == waited
    assert 0 == memory.moved([move], now, WAITS).refusals
