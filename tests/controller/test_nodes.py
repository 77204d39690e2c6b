"""
Nodes on which nothing is pulled any more.
"""

import pytest

from tests.support.recovery_pods import HARBOR, SCHEDULED, creating, pod
from webhook.controller.nodes import Blocked, Nodes
from webhook.controller.pods import WaitingPods
from webhook.image.rules import Rule, Rules
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Evidence
from webhook.recovery.ladder import Waits


CACHED = f"{HARBOR}/proxy.docker.io/library/nginx:1"
RULES = Rules(HARBOR, (Rule("docker.io", "proxy.docker.io"),)).for_records


class Events:
    """
    Remembers what was told.
    """

    def __init__(self):
        self.told = []

    def tell(self, subject, reason, message, *, warning=False):
        self.told.append((subject.kind, subject.name, reason))


class Bench:
    """
    Pods that wait on nodes, silently.
    """

    def __init__(self):
        self.events = Events()
        self.nodes = Nodes(self.events)
        self.now = 100.0
        self.pods = WaitingPods(RULES, Evidence(), ControllerMetrics(), lambda: self.now, Waits())

    def create(self, name, image, node="node1"):
        body = pod({"web": image}, [creating("web", image)], nodeName=node)
        body["metadata"] |= {"name": name, "uid": name}
        self.pods.view("pending").seen(body, listed=False)

    def blocked(self, seconds=61.0, failing=None):
        self.nodes.tell(failing or {}, self.pods, RULES, now=self.now, wall=SCHEDULED + seconds)
        return self.nodes.blocked


@pytest.fixture
def bench():
    return Bench()


def test_a_pull_from_harbor_that_hangs_blocks_its_node(bench):
    """
    Another Pod waits without a word, and nothing starts: the node is named, once.
    """
    bench.create("hangs", CACHED)
    bench.create("waits", "quay.io/a/b")
    bench.create("elsewhere", "quay.io/a/b", node="node2")

    assert {} == bench.blocked(seconds=59.0)
    assert {"node1": Blocked(2, 61.0)} == bench.blocked()
    bench.blocked(seconds=90.0)
    assert [("Node", "node1", "HarborCacheNodeBlocked")] == bench.events.told


def test_a_slow_pull_alone_is_no_block(bench):
    """
    A large image takes its time; only somebody else who waits shows that the node is blocked.
    """
    bench.create("hangs", CACHED)

    assert {} == bench.blocked()


def test_pods_that_wait_for_something_else_are_no_block(bench):
    """
    Without a pull from Harbor it is not our affair why Pods are still being created.
    """
    bench.create("one", "quay.io/a/b")
    bench.create("two", "quay.io/a/b")

    assert {} == bench.blocked()


def test_a_node_that_starts_containers_is_not_blocked(bench):
    """
    Pulls go on beside each other there.
    """
    bench.create("hangs", CACHED)
    bench.create("waits", "quay.io/a/b")
    bench.pods.started["node1"] = 95.0
    assert {} == bench.blocked()

    bench.now = 130.0
    assert {"node1"} == bench.blocked().keys()


def test_a_node_on_which_every_pull_fails_is_told_once_an_hour(bench):
    """
    Not at every look.
    """
    for _ in range(3):
        bench.blocked(failing={"node1": 3})
    bench.now += 3601.0
    bench.blocked(failing={"node1": 3})

    assert [("Node", "node1", "HarborCachePullsFail")] * 2 == bench.events.told
