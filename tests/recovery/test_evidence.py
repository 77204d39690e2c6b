from datetime import UTC, datetime, timedelta

from webhook.config import Recovery
from webhook.image.quarantine import EMPTY, Entry, Quarantine
from webhook.recovery.evidence import Evidence, Failure, Verdict
from webhook.recovery.ledger import Ledger, after_verdict, reconcile


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CONFIG = Recovery()


def failure(image="docker.io/a/b:1", node="node1", *, at=100.0, namespace="shop", **more):
    """
    Return a failure that was first seen half a minute before it was given up.
    """
    return Failure(image, "proxy.docker.io", node, namespace, at - 30, at, **more)


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
    A node that fails on every image of Harbor is reported, until it pulls one.
    """
    evidence = Evidence()
    evidence.failed(failure("docker.io/a:1"))
    assert not evidence.judge(200.0).nodes

    evidence.failed(failure("docker.io/b:1"))
    assert {"node1": 2} == evidence.judge(200.0).nodes

    pulled(evidence)
    assert not evidence.judge(200.0).nodes


def test_a_project_is_counted_out():
    """
    Many images of one project that fail on several nodes, and none that succeeds.
    """
    evidence = Evidence()
    for number in range(5):
        evidence.failed(failure(f"docker.io/a:{number}", f"node{number % 2}"))

    verdict = evidence.judge(200.0)

    assert ["proxy.docker.io"] == list(verdict.projects)
    assert not verdict.images
    assert {f"docker.io/a:{number}" for number in range(5)} == verdict.blamed["proxy.docker.io"]


def test_a_project_that_serves_one_node_is_not_counted_out():
    """
    A single success since then shows that the project can serve.
    """
    evidence = Evidence()
    for number in range(5):
        evidence.failed(failure(f"docker.io/a:{number}", f"node{number % 2}"))
    pulled(evidence, node="node7")

    assert not evidence.judge(200.0).projects


def test_one_node_does_not_count_a_project_out():
    """
    However many images fail on one node, it is that node's fault.
    """
    evidence = Evidence()
    for number in range(50):
        evidence.failed(failure(f"docker.io/a:{number}"))

    assert not evidence.judge(200.0).projects


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


def test_an_image_is_left_alone_for_the_configured_time():
    """
    An entry says until when, why, and through whose Pod.
    """
    outcome = after_verdict(EMPTY, Ledger({}), verdict("docker.io/a:1"), NOW, CONFIG)

    entry = Entry(NOW + timedelta(hours=24), "why", "shop")
    assert {"docker.io/a:1": entry} == outcome.quarantine.images
    assert ("docker.io/a:1",) == outcome.added


def test_an_image_whose_upstream_was_down_is_tried_again_soon():
    """
    When the upstream was to blame, a day would be too long.
    """
    found = verdict("docker.io/a:1", upstream_down=True)

    outcome = after_verdict(EMPTY, Ledger({}), found, NOW, CONFIG)

    assert NOW + timedelta(minutes=15) == outcome.quarantine.images["docker.io/a:1"].until


def test_an_entry_keeps_its_end():
    """
    What stands there already is not prolonged.
    """
    before = Quarantine({"docker.io/a:1": Entry(NOW + timedelta(minutes=1), "why", "shop")})

    outcome = after_verdict(before, Ledger({}), verdict("docker.io/a:1"), NOW, CONFIG)

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
            state, Ledger({}), verdict(*names, namespace=f"n{space}"), NOW, config
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

    outcome = after_verdict(EMPTY, Ledger({}), verdict("docker.io/a:1"), NOW, config)

    assert EMPTY.images == outcome.quarantine.images


def test_an_entry_deleted_by_hand_stays_deleted():
    """
    Whoever takes an image out of the ConfigMap does not find it there again.
    """
    first = after_verdict(EMPTY, Ledger({}), verdict("docker.io/a:1"), NOW, CONFIG)
    ledger = Ledger.read(reconcile(first.quarantine, Ledger({}), NOW, 10).write())

    ledger = reconcile(EMPTY, ledger, NOW + timedelta(minutes=1), 10)
    outcome = after_verdict(EMPTY, ledger, verdict("docker.io/a:1"), NOW, CONFIG)

    assert ("docker.io/a:1",) == ledger.dismissed
    assert not outcome.quarantine.images


def test_an_entry_that_ended_was_not_deleted():
    """
    An image whose time is over may come back.
    """
    ledger = Ledger({"docker.io/a:1": NOW})

    assert Ledger({}) == reconcile(EMPTY, ledger, NOW, 10)


def test_dismissed_names_are_bounded():
    """
    The ledger does not grow for ever: the oldest decisions go first.
    """
    ledger = Ledger({}, ("a", "b", "c"))

    assert ("b", "c") == reconcile(EMPTY, ledger, NOW, 2).dismissed


def test_a_counted_out_project_takes_the_blame():
    """
    Images of a project that is counted out are not left alone one by one.
    """
    before = Quarantine({"docker.io/a:1": Entry(NOW + timedelta(hours=1), "why", "shop")})
    found = Verdict(
        projects={"proxy.docker.io": "many"},
        blamed={"proxy.docker.io": frozenset({"docker.io/a:1"})},
    )

    outcome = after_verdict(before, Ledger({}), found, NOW, CONFIG)

    expected = Quarantine({}, {"proxy.docker.io": Entry(NOW + timedelta(minutes=15), "many")})
    assert expected == outcome.quarantine


def test_a_ledger_that_can_not_be_read_is_empty():
    """
    Garbage in the ConfigMap costs the memory of what was dismissed, and nothing else.
    """
    for text in ("", "{", "[]", '{"written": []}', '{"written": {"a": "x"}, "dismissed": []}'):
        assert Ledger({}) == Ledger.read(text)
