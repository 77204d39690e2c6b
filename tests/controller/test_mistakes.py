"""
What nobody has thought of: told, counted, and the end of nothing.
"""

import asyncio

import pytest

from webhook.controller import census, watch
from webhook.controller.mistakes import begun_again
from webhook.controller.watch import LABELLED, follow
from webhook.errors import ClusterError
from webhook.image.rules import Rules
from webhook.kube.listing import Change, Head
from webhook.process.metrics import ControllerMetrics


@pytest.fixture
def metrics():
    return ControllerMetrics()


def mistakes(metrics):
    return metrics.registry.get_sample_value(
        "harbor_cache_recovery_failures_total", {"cause": "internal-error"}
    )


def named(uid):
    return {"metadata": {"uid": uid, "name": uid, "namespace": "shop"}}


class Watched:
    """
    What is followed: each pass lists `items`, and then watches `changes`, of which some are raised.
    """

    def __init__(self, monkeypatch, items, changes):
        self.items = items
        self.changes = changes
        self.lists = 0
        self.all_seen = asyncio.Event()
        monkeypatch.setattr(watch, "Listing", self._listing)
        monkeypatch.setattr(watch, "watch", self._watch)

    def _listing(self, *_, **__):
        self.lists += 1
        return self

    version = "1"

    async def __aiter__(self):
        for item in self.items:
            yield item

    async def _watch(self, *_):
        while self.changes:
            change = self.changes.pop(0)
            if isinstance(change, Exception):
                raise change
            yield Change("MODIFIED", Head("shop", change, change, "2"), named(change))
        self.all_seen.set()
        await asyncio.sleep(60)


class Handler:
    """
    Understands no object called ``bad``.
    """

    def __init__(self):
        self.told = []
        self.complete = 0

    def seen(self, item, *, listed):
        if item["metadata"]["uid"] == "bad":
            raise KeyError("spec")
        self.told.append(item["metadata"]["uid"])

    def too_large(self, head):
        raise AssertionError(head)

    def all_listed(self, uids):
        self.complete += 1


async def until_seen(watched, handler, metrics):
    task = asyncio.create_task(follow(None, LABELLED, handler, metrics, lambda _: 0.0))
    async with asyncio.timeout(20):
        await watched.all_seen.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_object_that_can_not_be_understood_hides_no_other(monkeypatch, metrics):
    """
    Listed or changed: it is passed over, and counted.
    """
    watched = Watched(monkeypatch, [named("bad"), named("one")], ["bad", "two"])
    handler = Handler()

    await until_seen(watched, handler, metrics)

    assert (["one", "two"], 1) == (handler.told, handler.complete)
    assert 2 == mistakes(metrics)


async def test_a_watch_goes_on_after_whatever_is_raised(monkeypatch, metrics):
    """
    After a mistake of ours all is listed again; after an error of the API server it is not.
    """
    changes = [ClusterError("gone away", 500), "one", RuntimeError("nobody knows"), "two"]
    watched = Watched(monkeypatch, [], changes)
    handler = Handler()

    await until_seen(watched, handler, metrics)

    assert (["one", "two"], 2) == (handler.told, watched.lists)
    assert 1 == mistakes(metrics)


async def test_work_that_breaks_off_is_begun_again(metrics):
    """
    Whatever it raises, and ever more slowly; a cancellation ends it.
    """
    begun, pauses = [], []

    def pause(failures):
        pauses.append(failures)
        return 0.0

    async def work():
        begun.append(True)
        if len(begun) < 4:
            raise ExceptionGroup("several", [KeyError("spec")])
        await asyncio.sleep(60)

    task = asyncio.create_task(begun_again("work", work, metrics, pause))
    async with asyncio.timeout(20):
        while len(begun) < 4:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [1, 2, 3] == pauses
    assert 3 == mistakes(metrics)
    assert task.cancelled()


async def test_a_pod_that_can_not_be_counted_hides_no_other(monkeypatch, metrics):
    """
    The census counts the others.
    """

    async def pods(*_):
        yield {**named("bad"), "spec": "none"}
        yield {**named("one"), "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}}

    monkeypatch.setattr(census, "Listing", pods)
    rules = Rules("harbor.example.com", ())

    counts = await census._count(None, rules, frozenset({"shop"}), lambda _: None, metrics)

    assert 1 == counts.total()
    assert 1 == mistakes(metrics)
