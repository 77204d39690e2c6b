import json

from datetime import UTC, datetime, timedelta

import pytest

import webhook.recovery.evidence as evidence_module

from webhook.config import Recovery
from webhook.image.quarantine import EMPTY, Entry, Quarantine
from webhook.recovery.evidence import Evidence, Failure, Nowhere, Verdict
from webhook.recovery.failure import PullFailure, classify
from webhook.recovery.ledger import Ledger, Strikes, after_verdict, reconcile


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CONFIG = Recovery()


def failure(
    image="docker.io/a/b:1",
    node="node1",
    *,
    at=100.0,
    namespace="shop",
    failure=PullFailure.ABSENT,
    steady=True,
):
    """
    Return a failure that was first seen half a minute before it was given up.
    """
    return Failure(image, "proxy.docker.io", node, namespace, at - 30, at, failure, steady)


def spread(images, **how):
    """
    Return failures of so many images, on two nodes and in two namespaces.
    """
    return [
        failure(f"docker.io/a:{n}", f"node{n % 2}", **{"namespace": f"n{n % 2}", **how})
        for n in range(images)
    ]


def pulled(evidence, image="docker.io/other:1", node="node1", at=110.0, **how):
    """
    Let a node pull an image from Harbor.
    """
    evidence.started(
        node, image, "proxy.docker.io", at=at, **{"proves": True, "pulled": False, **how}
    )


def test_one_node_alone_proves_nothing():
    """
    A node without Harbor's authority must not poison the cluster.
    """
    evidence = Evidence()
    evidence.failed(failure())

    assert not evidence.judge(200.0).images


def test_two_nodes_are_enough():
    """
    An image that two nodes failed on is left alone.
    """
    evidence = Evidence()
    evidence.failed(failure())
    evidence.failed(failure(node="node2"))

    [(image, (last, reason))] = evidence.judge(200.0).images.items()

    assert ("docker.io/a/b:1", "shop") == (image, last.namespace)
    assert "node1, node2" in reason


def test_a_node_that_pulled_another_image_since_is_enough():
    """
    One node that can pull from Harbor, as it has shown since, is believed.
    """
    evidence = Evidence()
    pulled(evidence, at=60.0)
    evidence.failed(failure())
    assert not evidence.judge(200.0).images

    pulled(evidence, "docker.io/third:1", at=110.0)

    assert ["docker.io/a/b:1"] == list(evidence.judge(200.0).images)


def test_what_was_on_the_node_already_proves_no_pull():
    """
    A container that starts from an image on the node's disk says nothing about Harbor.
    """
    evidence = Evidence()
    pulled(evidence, at=50.0, proves=False)
    evidence.failed(failure())

    pulled(evidence)
    assert not evidence.judge(200.0).images

    pulled(evidence, pulled=True)
    assert ["docker.io/a/b:1"] == list(evidence.judge(200.0).images)


def test_an_image_that_was_pulled_is_cleared():
    """
    One success of the same image outweighs what was seen before.
    """
    evidence = Evidence()
    evidence.failed(failure())
    evidence.failed(failure(node="node2"))

    pulled(evidence, "docker.io/a/b:1", "node3")

    assert not evidence.judge(200.0).images


def test_failures_are_forgotten():
    """
    Two failures that lie an hour apart have nothing to do with each other.
    """
    evidence = Evidence()
    evidence.failed(failure())
    evidence.failed(failure(node="node2", at=3800.0))

    assert not evidence.judge(3900.0).images


def test_a_node_on_which_everything_fails_is_named():
    """
    A node that does not reach Harbor for any image is reported, until it pulls one.
    """
    evidence = Evidence()
    evidence.failed(failure("docker.io/a:1", failure=PullFailure.UNREACHABLE))
    assert not evidence.judge(200.0).nodes

    evidence.failed(failure("docker.io/b:1", failure=PullFailure.UNREACHABLE))
    assert {"node1": 2} == evidence.judge(200.0).nodes

    pulled(evidence)
    assert not evidence.judge(200.0).nodes


def test_what_harbor_says_of_an_image_is_no_fault_of_the_node():
    """
    A node that hears of Harbor that images are absent reaches Harbor.
    """
    evidence = Evidence()
    for number in range(5):
        evidence.failed(failure(f"docker.io/a:{number}"))

    assert {} == evidence.judge(200.0).nodes


@pytest.mark.parametrize(
    "failures",
    [
        spread(5, failure=PullFailure.UNREACHABLE),
        spread(5, failure=PullFailure.DENIED),
        [*spread(5)[:4], *spread(5, failure=PullFailure.UNREACHABLE)[4:]],
    ],
)
def test_a_project_is_suspended(failures):
    """
    Many images of one project, of several namespaces, fail on several nodes, and none succeeds.
    """
    evidence = Evidence()
    for each in failures:
        evidence.failed(each)

    verdict = evidence.judge(200.0)

    assert ["proxy.docker.io"] == list(verdict.projects)
    assert not verdict.images
    assert {f"docker.io/a:{number}" for number in range(5)} == verdict.blamed["proxy.docker.io"]


@pytest.mark.parametrize(
    "failures",
    [
        spread(4),
        spread(5, namespace="shop"),
        [failure(f"docker.io/a:{n}", "node1", namespace=f"n{n}") for n in range(50)],
        spread(5, failure=PullFailure.LIMITED),
        spread(5, failure=PullFailure.UNKNOWN),
        spread(5, failure=PullFailure.NODE),
        spread(5, failure=PullFailure.KUBELET),
        spread(5, steady=False),
    ],
    ids=[
        "few",
        "one namespace",
        "one node",
        "limited",
        "unknown",
        "node",
        "kubelet",
        "cache-only",
    ],
)
def test_a_project_is_not_suspended(failures):
    """
    Too few images, one tenant, one node, or failures that are not the project's fault.
    """
    evidence = Evidence()
    for each in failures:
        evidence.failed(each)

    assert {} == evidence.judge(200.0).projects


def test_a_project_that_serves_one_node_is_not_suspended():
    """
    A single success since then shows that the project can serve.
    """
    evidence = Evidence()
    for each in spread(5):
        evidence.failed(each)
    pulled(evidence, node="node7")

    assert not evidence.judge(200.0).projects


def test_images_that_exist_nowhere_suspend_no_project():
    """
    What Harbor says of images waits for the word of their upstream; that takes it back.
    """
    evidence = Evidence(settles=20.0)
    for each in spread(5):
        evidence.failed(each)
    assert {} == evidence.judge(119.0).projects

    for each in spread(5):
        evidence.nowhere(Nowhere(each.image, ""), 119.0)

    assert {} == evidence.judge(200.0).projects
    assert {} == evidence.judge(200.0).images
    nowhere = {Nowhere(f"docker.io/a:{number}", "") for number in range(5)}
    assert nowhere == evidence.judge(200.0).nowhere


def test_an_image_that_exists_nowhere_is_not_judged_again():
    """
    Its next failures at Harbor are passed over, until an hour is over or it was pulled.
    """
    evidence = Evidence()
    evidence.nowhere(Nowhere("docker.io/a/b:1", ""), 100.0)
    for node in ("node1", "node2"):
        evidence.failed(failure(node=node))
    assert {} == evidence.judge(200.0).images

    evidence.judge(3800.0)
    for node in ("node1", "node2"):
        evidence.failed(failure(node=node, at=3800.0))
    assert ["docker.io/a/b:1"] == list(evidence.judge(3800.0).images)


@pytest.mark.parametrize("first", ["denied", "failed"])
def test_what_is_denied_to_one_tenant_counts_for_that_tenant_alone(first):
    """
    Others may hold credentials: their failures at Harbor count on, whoever comes first.
    """
    evidence = Evidence()
    failures = [failure(node=node, namespace=n) for node, n in (("node1", "shop"), ("node2", "b"))]
    denied = Nowhere("docker.io/a/b:1", "thief")
    if first == "denied":
        evidence.nowhere(denied, 90.0)
    for each in (*failures, failure(node="node3", namespace="thief")):
        evidence.failed(each)
    if first == "failed":
        evidence.nowhere(denied, 110.0)

    verdict = evidence.judge(200.0)

    assert ["docker.io/a/b:1"] == list(verdict.images)
    assert "node1, node2" in verdict.images["docker.io/a/b:1"][1]
    assert "node3" not in verdict.images["docker.io/a/b:1"][1]


@pytest.mark.parametrize(("namespace", "let_out"), [("shop", True), ("thief", False)])
def test_what_is_denied_lets_out_only_what_that_tenant_brought_in(namespace, let_out):
    """
    The entry that another namespace brought there stays.
    """
    first = after_verdict(EMPTY, Ledger(), verdict("docker.io/a:1"), NOW, CONFIG)
    denied = Verdict(nowhere=frozenset({Nowhere("docker.io/a:1", namespace)}))

    outcome = after_verdict(first.quarantine, first.ledger, denied, NOW, CONFIG)

    assert let_out == (EMPTY == outcome.quarantine)


def test_what_may_have_been_on_the_node_already_clears_nothing_at_first():
    """
    A controller that has just begun does not know the nodes: only what was asked for clears.
    """
    evidence = Evidence(learned=3600.0)
    for node in ("node1", "node2"):
        evidence.failed(failure("docker.io/a:1", node))

    pulled(evidence, "docker.io/a:1", "node3")
    assert ["docker.io/a:1"] == list(evidence.judge(200.0).images)

    pulled(evidence, "docker.io/a:1", "node3", pulled=True)
    assert {} == evidence.judge(200.0).images


def test_what_may_have_been_on_the_node_already_speaks_for_its_project():
    """
    A project that may well serve is not suspended, though its controller has just begun.
    """
    evidence = Evidence(learned=3600.0)
    for each in spread(5, failure=PullFailure.UNREACHABLE):
        evidence.failed(each)
    assert ["proxy.docker.io"] == list(evidence.judge(200.0).projects)

    pulled(evidence, "docker.io/other:1", "node3")
    assert {} == evidence.judge(200.0).projects


def test_an_image_that_starts_often_stays_known(monkeypatch):
    """
    Where there is no room for all, what was not seen for longest is forgotten: not the popular.
    """
    monkeypatch.setattr(evidence_module, "_MOST_PULLS", 3)
    evidence = Evidence()
    pulled(evidence, "docker.io/popular:1", at=50.0, proves=False)
    for number in range(5):
        pulled(evidence, f"docker.io/rare:{number}", "node2", at=60.0)
        pulled(evidence, "docker.io/popular:1", at=60.0)
    evidence.failed(failure())
    pulled(evidence, "docker.io/popular:1", at=120.0)

    assert {} == evidence.judge(200.0).images


def test_nodes_that_are_gone_are_forgotten():
    """
    Clusters that grow and shrink have new nodes every day.
    """
    evidence = Evidence()
    pulled(evidence, at=100.0)
    evidence.judge(3701.0)

    assert {} == evidence._node_success


@pytest.mark.parametrize(
    ("failure_class", "steady", "counts"),
    [
        (PullFailure.ABSENT, True, True),
        (PullFailure.DENIED, True, True),
        (PullFailure.ABSENT, False, False),
        (PullFailure.LIMITED, True, False),
        (PullFailure.UNREACHABLE, True, False),
        (PullFailure.UNKNOWN, True, False),
        (PullFailure.KUBELET, True, False),
        (PullFailure.NODE, True, False),
    ],
)
def test_the_class_decides_what_counts_against_an_image(failure_class, steady, counts):
    """
    Absent and denied count, while the project was available throughout; nothing else does.
    """
    evidence = Evidence()
    for node in ("node1", "node2"):
        evidence.failed(failure(node=node, failure=failure_class, steady=steady))

    assert counts == bool(evidence.judge(200.0).images)


def test_harbors_own_limit_is_nobodys_fault():
    """
    Harbor answers 429 for the one image that many nodes pull cold: it stays where it is.
    """
    evidence = Evidence()
    for number in range(10):
        evidence.failed(failure(node=f"node{number}", failure=PullFailure.LIMITED))

    assert Verdict() == evidence.judge(200.0)


def test_a_replaced_node_pool_proves_nothing():
    """
    Two new nodes, ten images, the kubelet's brake, full disks, wrong platforms: nobody's fault.
    """
    messages = (
        "pull QPS exceeded",
        'failed to pull and unpack image "a": failed to extract layer: no space left on device',
        'failed to pull and unpack image "a": no match for platform in manifest: not found',
    )
    evidence = Evidence()
    for image in range(10):
        for node in range(2):
            for message in messages:
                found = classify("ErrImagePull", message)
                evidence.failed(failure(f"docker.io/a:{image}", f"node{node}", failure=found))

    assert Verdict() == evidence.judge(200.0)


def test_evidence_is_bounded():
    """
    Whoever starts Pods with ever new images can't fill the controller's memory.
    """
    evidence = Evidence()
    for number in range(6000):
        evidence.failed(failure(f"docker.io/a:{number}"))
    for number in range(20):
        evidence.failed(failure(node=f"node{number}"))

    assert 5000 == len(evidence._failures)
    assert 8 == len(evidence._failures["docker.io/a/b:1"])


def verdict(*names, namespace="shop", **more):
    """
    Return a verdict against some images.
    """
    return Verdict({n: (failure(n, namespace=namespace, **more), "why") for n in names})


def test_an_image_is_quarantined_for_a_quarter_of_an_hour():
    """
    An entry says until when, why, and through whose Pod.
    """
    outcome = after_verdict(EMPTY, Ledger(), verdict("docker.io/a:1"), NOW, CONFIG)

    entry = Entry(NOW + timedelta(minutes=15), "why", "shop")
    assert {"docker.io/a:1": entry} == outcome.quarantine.images
    assert ("docker.io/a:1",) == outcome.added


def test_each_further_time_lasts_twice_as_long():
    """
    15 minutes, 30, an hour, … and quarantineFor at the most; a restart forgets nothing.
    """
    now, ledger, lasted = NOW, Ledger(), []
    for _ in range(9):
        ledger = reconcile(EMPTY, Ledger.read(ledger.write()), now, 10)
        outcome = after_verdict(EMPTY, ledger, verdict("docker.io/a:1"), now, CONFIG)
        until = outcome.quarantine.images["docker.io/a:1"].until
        lasted.append((until - now) / timedelta(minutes=15))
        now, ledger = until, outcome.ledger

    assert [1, 2, 4, 8, 16, 32, 64, 96, 96] == lasted


def test_what_was_quarantined_long_ago_is_forgotten():
    """
    A day after the end of its last time an image begins at a quarter of an hour again.
    """
    strikes = {"docker.io/a:1": Strikes(5, NOW)}

    assert {} == reconcile(EMPTY, Ledger(strikes=strikes), NOW, 10).strikes


def test_an_image_that_exists_nowhere_is_let_out():
    """
    The evidence that brought it there was taken back; nobody has deleted it by hand.
    """
    first = after_verdict(EMPTY, Ledger(), verdict("docker.io/a:1"), NOW, CONFIG)
    taken_back = Verdict(nowhere=frozenset({Nowhere("docker.io/a:1", "")}))

    ledger = reconcile(first.quarantine, first.ledger, NOW, 10)
    outcome = after_verdict(first.quarantine, ledger, taken_back, NOW, CONFIG)
    after = reconcile(outcome.quarantine, outcome.ledger, NOW, 10)

    assert EMPTY == outcome.quarantine
    assert () == after.dismissed


def test_an_entry_keeps_its_end():
    """
    What stands there already is not prolonged.
    """
    before = Quarantine({"docker.io/a:1": Entry(NOW + timedelta(minutes=1), "why", "shop")})

    outcome = after_verdict(before, Ledger(), verdict("docker.io/a:1"), NOW, CONFIG)

    assert before == outcome.quarantine
    assert () == outcome.added


def test_bounds_in_all_and_per_namespace():
    """
    One namespace gets a tenth of the room, and all together get no more than there is.
    """
    config = Recovery(quarantineMax=20)
    state = EMPTY
    for space in range(15):
        names = [f"docker.io/a{space}:{number}" for number in range(3)]
        outcome = after_verdict(
            state, Ledger(), verdict(*names, namespace=f"n{space}"), NOW, config
        )
        state = outcome.quarantine
        assert 1 == len(outcome.refused) or space >= 10

    assert 20 == len(state.images)
    assert {2} == {
        sum(e.namespace == f"n{space}" for e in state.images.values()) for space in range(10)
    }


def test_no_room_at_all():
    """
    A quarantineMax of zero switches the quarantine off.
    """
    config = Recovery(quarantineMax=0)

    outcome = after_verdict(EMPTY, Ledger(), verdict("docker.io/a:1"), NOW, config)

    assert EMPTY.images == outcome.quarantine.images


def test_an_entry_deleted_by_hand_stays_deleted():
    """
    Whoever takes an image out of the ConfigMap does not find it there again.
    """
    first = after_verdict(EMPTY, Ledger(), verdict("docker.io/a:1"), NOW, CONFIG)
    ledger = Ledger.read(reconcile(first.quarantine, Ledger(), NOW, 10).write())

    ledger = reconcile(EMPTY, ledger, NOW + timedelta(minutes=1), 10)
    outcome = after_verdict(EMPTY, ledger, verdict("docker.io/a:1"), NOW, CONFIG)

    assert ("docker.io/a:1",) == ledger.dismissed
    assert not outcome.quarantine.images


def test_an_entry_that_ended_was_not_deleted():
    """
    An image whose time is over may come back.
    """
    ledger = Ledger({"docker.io/a:1": NOW})

    assert Ledger() == reconcile(EMPTY, ledger, NOW, 10)


def test_dismissed_names_are_bounded():
    """
    The ledger does not grow for ever: the oldest decisions go first.
    """
    ledger = Ledger({}, ("a", "b", "c"))

    assert ("b", "c") == reconcile(EMPTY, ledger, NOW, 2).dismissed


def test_a_suspended_project_takes_the_blame():
    """
    Images of a project that is suspended are not quarantined one by one.
    """
    before = Quarantine({"docker.io/a:1": Entry(NOW + timedelta(hours=1), "why", "shop")})
    found = Verdict(
        projects={"proxy.docker.io": "many"},
        blamed={"proxy.docker.io": frozenset({"docker.io/a:1"})},
    )

    outcome = after_verdict(before, Ledger(), found, NOW, CONFIG)

    expected = Quarantine({}, {"proxy.docker.io": Entry(NOW + timedelta(minutes=15), "many")})
    assert expected == outcome.quarantine


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "7", '{"written": []}', '{"dismissed": {}}', '{"strikes": 3}', "[" * 100_000],
)
def test_a_ledger_that_can_not_be_read_is_empty(text):
    """
    Garbage in the ConfigMap costs the memory of what was dismissed, is told, and nothing else.
    """
    ledger = Ledger.read(text)

    assert Ledger() == ledger
    assert ledger.dropped


def test_one_bad_entry_of_the_ledger_costs_no_other():
    """
    What can't be used is dropped by itself, and told.
    """
    good = {"docker.io/a:1": "2026-11-25T10:00:00Z"}
    bad = {
        "far": "9999-12-31T23:59:59-01:00",
        "early": "0001-01-01T00:00:00+01:00",
        "word": "tomorrow",
        "number": 7,
        "nothing": None,
        "list": [],
    }
    strikes = {
        "docker.io/a:1": {"times": 2, "until": "2026-11-25T10:00:00Z"},
        "many": {"times": 10**30, "until": "2026-11-25T10:00:00Z"},
        "infinite": {"times": float("inf"), "until": "2026-11-25T10:00:00Z"},
        "bare": 3,
        "late": {"times": 1, "until": "9999-12-31T23:59:59-01:00"},
    }
    text = json.dumps(
        {"written": {**good, **bad}, "dismissed": ["docker.io/b:1", 7], "strikes": strikes}
    )

    ledger = Ledger.read(text)
    ledger = reconcile(EMPTY, Ledger.read(ledger.write()), NOW, 10)

    assert ["docker.io/a:1"] == list(Ledger.read(text).written)
    assert {"docker.io/a:1", "many"} == set(Ledger.read(text).strikes)
    assert ("docker.io/b:1", "docker.io/a:1") == ledger.dismissed
    assert 6 + 1 + 3 == len(Ledger.read(text).dropped)


def test_one_bad_entry_of_the_quarantine_costs_no_other():
    """
    What can't be used is dropped by itself, and told; what is written again can be read.
    """
    text = json.dumps(
        {
            "version": 1,
            "images": {
                "docker.io/a:1": {"until": "2026-11-25T10:00:00Z"},
                "far": {"until": "9999-12-31T23:59:59-01:00"},
                "none": {},
                "list": [],
            },
            "projects": {"p": {"until": 3}, "q": {"until": "2026-11-25T10:00:00+02:00"}},
        }
    )

    found = Quarantine.read(text)

    assert (["docker.io/a:1"], ["q"]) == (list(found.images), list(found.projects))
    assert ("far", "none", "list", "p") == found.dropped
    assert found == Quarantine.read(found.write())
