from datetime import UTC, datetime

import pytest

from tests.support.recovery_pods import HARBOR, SCHEDULED, creating, ended, pod, running, waiting
from webhook.config import Recovery
from webhook.image.availability import UNKNOWN, State
from webhook.image.rules import Rule, Rules
from webhook.pod.decision import Policy
from webhook.recovery.failure import PullFailure
from webhook.recovery.former import FormerRules
from webhook.recovery.ladder import Memory
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Cause, Health, LeftReason
from webhook.recovery.plan import Knowledge
from webhook.recovery.plan import plan as plan_moves
from webhook.recovery.waiting import PULL_FAILURES, watched_pod


OLD_HARBOR = "old-harbor.example.com"
RULES = Rules(
    harbor_host=HARBOR,
    rules=(
        Rule("docker.io", "proxy.docker.io", aliases=("registry-1.docker.io",)),
        Rule("ghcr.io", "proxy.ghcr.io", exclude=("acme/private-*",)),
    ),
    former_hosts=(OLD_HARBOR,),
)
ORIGINAL = "nginx:1"
CACHED = f"{HARBOR}/proxy.docker.io/library/nginx:1"
CONFIG = Recovery()
DOWN = Health(State.UNAVAILABLE, 30.0)
FINE = Health(State.AVAILABLE, 3600.0)


def plan(body, *, health=DOWN, failing=31.0, now=SCHEDULED + 31, config=CONFIG, failure=None):
    """
    Plan for a Pod whose containers have all been failing for the same time, and just failed again.
    """
    watched = watched_pod(body)
    assert watched is not None
    containers = {
        container.name: Memory(
            image=container.image,
            reason=container.reason,
            since=-failing,
            failures=1,
            failed_at=0.0,
            failure=failure or container.failure,
        )
        for container in watched.waiting
    }
    known = Knowledge(
        policy=Policy(RULES),
        config=config,
        availability=UNKNOWN,
        health=lambda project: health,
        mode=lambda namespace: "",
    )
    return plan_moves(watched, PodMemory(containers), known, now=0.0, wall=now)


def restores(body, **how):
    """
    Return what becomes of which container, and why.
    """
    return [(m.container.name, m.image, m.cause) for m in plan(body, **how).moves]


def left(body, **how):
    """
    Return which containers are left alone, and why.
    """
    return [(entry.container.name, entry.reason) for entry in plan(body, **how).left]


def stuck(image=CACHED, record=ORIGINAL, **how):
    """
    Return a Pod with one container that can't pull its image.
    """
    return pod({"web": image}, [waiting("web", image, **how)], records={"web": record})


@pytest.mark.parametrize("reason", sorted(PULL_FAILURES))
def test_every_reason_of_a_failed_pull_is_known(reason):
    """
    Whatever word the kubelet has for a failed pull, the container is restored.
    """
    found = restores(stuck(reason=reason))

    assert found == [("web", ORIGINAL, Cause.UNAVAILABLE)]


@pytest.mark.parametrize(
    "reason", ["CrashLoopBackOff", "CreateContainerConfigError", "InvalidImageName", ""]
)
def test_other_reasons_are_not_about_the_pull(reason):
    """
    A container that waits for anything else is left alone.
    """
    assert not restores(stuck(reason=reason))


def test_the_record_comes_back_as_it_was_written():
    """
    The restored image is the record byte for byte, not its normal form.
    """
    record = "registry-1.docker.io/nginx:1"

    assert [("web", record, Cause.UNAVAILABLE)] == restores(stuck(record=record))


def test_a_short_outage_heals_itself():
    """
    Nothing is restored before the project has been unavailable for afterUnavailable.
    """
    assert not restores(stuck(), health=Health(State.UNAVAILABLE, 29.9), failing=3600.0)


def test_unknown_health_never_triggers():
    """
    However long nothing is known of Harbor, nothing is concluded from it.
    """
    assert not restores(stuck(), health=Health(State.UNKNOWN, 1e6), failing=1e6)


@pytest.mark.parametrize("state", [State.AVAILABLE, State.CACHE_ONLY])
def test_a_pull_that_keeps_failing_is_given_up(state):
    """
    Harbor is there and can't serve this image: after restoreAfter, and not before.
    """
    health = Health(state, 5.0)

    assert restores(stuck(), health=health, failing=30.0) == [("web", ORIGINAL, Cause.FAILS)]
    assert not restores(stuck(), health=health, failing=29.9)


def test_a_failure_counts_from_the_failing_time_only():
    """
    A container that has never been seen to fail is not given up while Harbor is there.
    """
    body = pod({"web": CACHED}, [creating("web", CACHED)], records={"web": ORIGINAL})

    assert not restores(body, health=FINE, failing=1e6, now=SCHEDULED + 1e6)


def test_a_pull_that_hangs_is_restored_while_the_project_is_down():
    """
    A container without an ID, 30 s after its Pod was scheduled, hangs in its pull.
    """
    body = pod({"web": CACHED}, [creating("web", CACHED)], records={"web": ORIGINAL})

    assert restores(body, now=SCHEDULED + 30) == [("web", ORIGINAL, Cause.HANGS)]
    assert not restores(body, now=SCHEDULED + 29)


def test_a_container_that_has_had_an_id_does_not_hang():
    """
    A container that is being created again has its image on the node.
    """
    seen = {**creating("web", CACHED), "containerID": "containerd://1"}
    again = {**creating("web", CACHED), "restartCount": 1}
    before = {**creating("web", CACHED), "lastState": {"terminated": {"exitCode": 1}}}

    for status in (seen, again, before):
        assert not restores(pod({"web": CACHED}, [status], records={"web": ORIGINAL}))


def test_a_pod_that_is_not_scheduled_does_not_hang():
    """
    A Pod that waits for a node waits for no pull.
    """
    body = pod({"web": CACHED}, [creating("web", CACHED)], records={"web": ORIGINAL})
    body["status"]["conditions"][0]["status"] = "False"

    assert not restores(body, now=SCHEDULED + 1e6)


def test_containers_behind_an_init_container_do_not_hang():
    """
    Only the container whose turn it is can hang in a pull.
    """
    reason = "PodInitializing"
    body = pod(
        {"web": CACHED},
        [creating("web", CACHED, reason)],
        records={"one": ORIGINAL, "two": ORIGINAL, "web": ORIGINAL},
        init=[{"name": "one", "image": CACHED}, {"name": "two", "image": CACHED}],
        init_statuses=[running("one", CACHED), creating("two", CACHED, reason)],
    )

    assert not restores(body)

    body["status"]["initContainerStatuses"][0] = ended("one", CACHED)
    assert restores(body) == [("two", ORIGINAL, Cause.HANGS)]

    body["status"]["initContainerStatuses"][1] = ended("two", CACHED)
    assert restores(body) == [("web", ORIGINAL, Cause.HANGS)]


def test_a_started_sidecar_keeps_nobody_waiting():
    """
    A native sidecar counts as done once it has started, not when it ends.
    """
    body = pod(
        {"web": CACHED},
        [creating("web", CACHED, "PodInitializing")],
        records={"web": ORIGINAL},
        init=[{"name": "proxy", "image": "envoy", "restartPolicy": "Always"}],
        init_statuses=[running("proxy", "envoy")],
    )

    assert restores(body) == [("web", ORIGINAL, Cause.HANGS)]

    body["status"]["initContainerStatuses"][0]["started"] = False
    assert not restores(body)


def test_init_containers_and_sidecars_are_restored():
    """
    A failed pull of an init container or a sidecar is restored like any other.
    """
    body = pod(
        {"web": CACHED},
        [creating("web", CACHED, "PodInitializing")],
        records={"proxy": ORIGINAL, "web": ORIGINAL},
        init=[{"name": "proxy", "image": CACHED, "restartPolicy": "Always"}],
        init_statuses=[waiting("proxy", CACHED)],
    )

    assert restores(body) == [("proxy", ORIGINAL, Cause.UNAVAILABLE)]


def test_running_containers_are_never_touched():
    """
    Beside a container that runs, only the waiting one is restored.
    """
    body = pod(
        {"web": CACHED, "side": CACHED},
        [running("web", CACHED), waiting("side", CACHED)],
        records={"web": ORIGINAL, "side": ORIGINAL},
    )

    assert restores(body) == [("side", ORIGINAL, Cause.UNAVAILABLE)]


def test_statuses_are_found_by_name():
    """
    The kubelet may list statuses in another order than the spec lists containers.
    """
    body = pod(
        {"web": CACHED, "side": CACHED},
        [waiting("side", CACHED), running("web", CACHED)],
        records={"web": ORIGINAL, "side": ORIGINAL},
    )

    [restore] = plan(body).moves

    assert (
        restore.container.name,
        restore.container.index,
        restore.container.status_index,
    ) == ("side", 1, 0)


def test_a_restored_container_is_not_ours_any_more():
    """
    An image that exists nowhere fails at its registry too: no loop, and no mismatch either.
    """
    body = stuck(image=ORIGINAL)

    assert not restores(body)
    assert not left(body)


@pytest.mark.parametrize(
    ("image", "record"),
    [
        (CACHED, "evil/x"),
        (CACHED, "nginx:2"),
        (f"{HARBOR}/proxy.docker.io/library/nginx:2", "nginx:1"),
        (CACHED, "quay.io/library/nginx:1"),
        (CACHED, CACHED),
        (CACHED, "not a reference"),
        (f"{CACHED}@sha256:{'a' * 64}", f"nginx:1@sha256:{'b' * 64}"),
        (f"{HARBOR}/proxy.docker.io/library/nginx:2@sha256:{'a' * 64}", "nginx:1"),
        (f"{HARBOR}:443/proxy.docker.io/library/nginx:1", ORIGINAL),
    ],
)
def test_records_prove_nothing(image, record):
    """
    Only a record that the rules turn into exactly the current image is believed.
    """
    body = stuck(image=image, record=record)

    assert not restores(body)
    assert [("web", LeftReason.RECORD_MISMATCH)] == left(body)


@pytest.mark.parametrize(
    ("image", "record"),
    [
        ("nginx:1.28-typo", ORIGINAL),
        ("nginx:1", "evil/x"),
        (f"evil.example.com/{CACHED}", ORIGINAL),
        (f"{HARBOR}/library/own:1", ""),
    ],
)
def test_what_does_not_lead_to_our_projects_is_none_of_our_business(image, record):
    """
    Somebody has set another image in place, or has an own one in Harbor: silence.
    """
    result = plan(stuck(image=image, record=record))

    assert ((), ()) == (result.moves, result.left)


DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("image", "restored"),
    [
        (f"{CACHED}@{DIGEST}", f"{ORIGINAL}@{DIGEST}"),
        (f"{HARBOR}/proxy.docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
    ],
)
def test_a_digest_that_a_verifier_pinned_is_restored_with(image, restored):
    """
    Kyverno writes the digest behind the tag, sigstore in its place; it goes back with the original.
    """
    assert [("web", restored, Cause.UNAVAILABLE)] == restores(stuck(image=image))


@pytest.mark.parametrize("failure", [PullFailure.KUBELET, PullFailure.NODE])
@pytest.mark.parametrize("health", [DOWN, FINE])
def test_no_move_follows_a_fault_of_the_node(failure, health):
    """
    Another source would not help a full disk, nor the kubelet's brake.
    """
    body = stuck(message=f'failed to pull "{CACHED}": pull QPS exceeded')

    assert not restores(body, failure=failure, health=health)


def test_a_pull_that_the_runtime_gave_up_hangs():
    """
    A cancelled pull is the kubelet's affair, but for a project that is known to be unavailable.
    """
    body = stuck(message=f'failed to pull "{CACHED}": context canceled')

    assert [("web", ORIGINAL, Cause.HANGS)] == restores(body)
    assert not restores(body, health=FINE)


def test_a_rule_that_is_no_longer_there_is_remembered():
    """
    Pods that wait for a project which the config no longer names are restored all the same.
    """
    image = f"{HARBOR}/proxy.quay.io/acme/app:1"
    body = stuck(image=image, record="quay.io/acme/app:1")
    former = FormerRules().with_rules(
        Rules(HARBOR, (Rule("quay.io", "proxy.quay.io"),)), datetime(2026, 11, 24, tzinfo=UTC)
    )
    watched = watched_pod(body)
    memory = PodMemory(
        {"web": Memory(image, "ErrImagePull", since=-31.0, failed_at=0.0, failures=1)}
    )
    known = Knowledge(
        policy=Policy(former.onto(RULES)),
        config=CONFIG,
        availability=UNKNOWN,
        health=lambda project: Health(State.UNKNOWN, 1e6),
        mode=lambda namespace: "enforce",
    )

    [move] = plan_moves(watched, memory, known, now=0.0, wall=SCHEDULED + 31).moves

    assert ("quay.io/acme/app:1", Cause.FORMER_RULE, True) == (
        move.image,
        move.cause,
        move.foreign,
    )


def test_an_image_of_ours_without_a_record_is_counted():
    """
    A container in one of our projects whose record is gone can't be restored, and that is seen.
    """
    body = pod({"web": CACHED}, [waiting("web", CACHED)])

    assert not restores(body)
    assert left(body) == [("web", LeftReason.RECORD_MISMATCH)]


def test_what_was_never_ours_is_not_counted():
    """
    An injected container that fails at its own registry is nobody's mismatch.
    """
    assert not left(pod({"web": "quay.io/a/b"}, [waiting("web", "quay.io/a/b")]))


def test_harbor_may_have_moved():
    """
    Images at a former address of Harbor are recognised.
    """
    body = stuck(image=f"{OLD_HARBOR}/proxy.docker.io/library/nginx:1")

    [restore] = plan(body).moves

    assert (restore.image, restore.foreign) == (ORIGINAL, True)


def test_an_image_that_is_excluded_by_now_is_restored():
    """
    Whoever excludes an image that Harbor can't serve does not strand those who wait for it.
    """
    body = stuck(
        image=f"{HARBOR}/proxy.ghcr.io/acme/private-x:1", record="ghcr.io/acme/private-x:1"
    )

    assert restores(body) == [("web", "ghcr.io/acme/private-x:1", Cause.UNAVAILABLE)]


@pytest.mark.parametrize(
    ("image", "message", "named"),
    [
        (CACHED, f'Back-off pulling image "{CACHED}": ErrImagePull: …', True),
        (CACHED, f"image pull failed for {CACHED} because the registry is unavailable.", True),
        (CACHED, f"initializing source docker://{CACHED}: pinging container registry", True),
        (CACHED, f"tried {CACHED}.", True),
        (CACHED, f'failed to pull "{CACHED}0"', False),
        (CACHED, f'failed to pull "{CACHED}.2"', False),
        (CACHED, f'failed to pull "mirror/{CACHED}"', False),
        (CACHED, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", False),
        (CACHED, "", False),
        ("h.io/a", 'failed to pull and unpack image "h.io/a:latest": …', True),
        ("h.io/a", 'failed to pull and unpack image "h.io/a:1": …', False),
        ("h.io:5/a", 'failed to pull and unpack image "h.io:5/a:latest": …', True),
        ("h.io/a:1@sha256:ab", 'failed to pull and unpack image "h.io/a@sha256:ab": …', True),
        ("h.io/a:1@sha256:ab", 'failed to pull and unpack image "h.io/a@sha256:abc": …', False),
    ],
)
def test_the_message_has_to_name_the_image(image, message, named):
    """
    A message about another image (a volume's) is told from one about the container's own.
    """
    watched = watched_pod(stuck(image=image, message=message))

    assert [named] == [container.names_image for container in watched.waiting]


def test_a_failed_image_volume_is_reported_only():
    """
    A volume's image is immutable: the container that mounts it is left alone, and it is said why.
    """
    volume = f"{HARBOR}/proxy.docker.io/acme/models:1"
    body = pod(
        {"web": CACHED},
        [waiting("web", volume)],
        records={"web": ORIGINAL},
        volumes=[{"name": "models", "image": {"reference": volume}}, {"name": "tmp"}],
    )
    body["status"]["containerStatuses"][0]["image"] = CACHED

    result = plan(body, health=FINE)

    assert not result.moves
    [entry] = result.left
    assert (LeftReason.IMAGE_VOLUME, volume, "docker.io/acme/models:1") == (
        entry.reason,
        entry.image,
        entry.original,
    )


def test_a_failed_ephemeral_container_is_reported_only():
    """
    An ephemeral container is immutable too.
    """
    body = pod({"web": CACHED}, [running("web", CACHED)], records={"debug": ORIGINAL})
    body["spec"]["ephemeralContainers"] = [{"name": "debug", "image": CACHED}]
    body["status"]["ephemeralContainerStatuses"] = [waiting("debug", CACHED)]

    assert not restores(body)
    assert left(body) == [("debug", LeftReason.EPHEMERAL_CONTAINER)]
    assert not left(body, failing=29.0)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"status": {"phase": "Succeeded"}},
        {"status": {"phase": "Failed"}},
    ],
)
def test_pods_that_are_gone(change):
    """
    Deleted Pods and finished ones are none of our business.
    """
    body = stuck()
    for part, values in change.items():
        body[part].update(values)

    assert watched_pod(body) is None


@pytest.mark.parametrize("body", [{}, {"metadata": None, "spec": None, "status": None}])
def test_a_pod_without_anything(body):
    """
    A Pod that lacks everything is no error.
    """
    watched = watched_pod(body)

    assert watched is not None
    assert () == watched.waiting
