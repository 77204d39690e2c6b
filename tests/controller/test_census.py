"""
The Pods that the census has followed: which, and whose.
"""

import asyncio

import pytest

from tests.support.recovery_pods import HARBOR, pod, running, waiting
from webhook.controller import census
from webhook.controller.census import Followed, fails_unseen
from webhook.controller.pods import WaitingPods
from webhook.image.rules import Rule, Rules
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Evidence
from webhook.recovery.ladder import Waits


RULES = Rules(HARBOR, (Rule("docker.io", "p"),))


def runs(image="nginx:1", *, debugger=""):
    """
    Return a Pod that runs, and whose second container, or *debugger*, can't be pulled.
    """
    statuses = [running("web", "nginx:1")]
    body = pod({"web": "nginx:1", "second": image}, statuses)
    body["metadata"]["labels"] = {}
    body["status"]["phase"] = "Running"
    if debugger:
        body["spec"]["ephemeralContainers"] = [{"name": "debug", "image": debugger}]
        body["status"]["ephemeralContainerStatuses"] = [waiting("debug", debugger)]
    else:
        statuses.append(waiting("second", image))
        body["status"]["containerStatuses"] = statuses
    return body


@pytest.mark.parametrize(
    ("body", "follows"),
    [
        (runs(), True),
        (runs(debugger=f"{HARBOR}/p/library/busybox:1"), True),
        (runs(debugger="busybox:typo"), False),
        (runs(debugger=f"{HARBOR}/own/busybox:1"), False),
    ],
    ids=["at a restart", "ephemeral on harbor", "ephemeral", "ephemeral of an own project"],
)
def test_what_nothing_follows_from_takes_no_room(body, follows):
    """
    An ephemeral container is told about where it leads to Harbor, and can't be moved ever.
    """
    assert follows == fails_unseen(body, RULES)


@pytest.fixture
async def followed(monkeypatch):
    async def follow(*_):
        await asyncio.sleep(60)

    monkeypatch.setattr(census, "follow", follow)
    metrics = ControllerMetrics()
    pods = WaitingPods(RULES, Evidence(), metrics, lambda: 100.0, Waits())
    async with Followed(None, pods, metrics, most=10) as all_followed:
        yield all_followed


def find(followed, namespace, count):
    for number in range(count):
        body = runs()
        name = f"{namespace}-{number}"
        body["metadata"] |= {"namespace": namespace, "uid": name, "name": name}
        followed.found(body)


async def test_no_tenant_has_all_the_room(followed):
    """
    Who comes later gets a share; who is alone may have it all.
    """
    find(followed, "greedy", 30)
    assert {"greedy": 10} == followed.namespaces
    find(followed, "shop", 2)
    assert {"greedy": 8, "shop": 2} == followed.namespaces

    find(followed, "team", 30)
    find(followed, "greedy", 30)

    assert {"greedy": 4, "shop": 2, "team": 4} == followed.namespaces
    assert {f"greedy-{number}" for number in range(4)} <= followed._pods.cases.keys()
    assert 10 == len(followed._pods.cases)
