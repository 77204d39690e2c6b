import copy
import json

import pytest

from tests.support.recovery_pods import HARBOR
from webhook.config import Config
from webhook.controller.store import FORMER_KEY, LEDGER_KEY, QUARANTINE_KEY, Store
from webhook.errors import ClusterError
from webhook.image.availability import UNKNOWN, Availability, State
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.evidence import Failure, Verdict
from webhook.recovery.failure import PullFailure


IMAGE = "docker.io/acme/private:1"
BAD = Failure(IMAGE, "hub", "node1", "shop", 70.0, 100.0, PullFailure.ABSENT)
VERDICT = Verdict(images={IMAGE: (BAD, "why")})
SEEN = Availability(State.AVAILABLE)


class Api:
    """
    One ConfigMap, or none; `refusal` is raised where something is to be written.
    """

    def __init__(self):
        self.item = {"metadata": {"resourceVersion": "1"}}
        self.refusal = None

    async def get(self, path):
        if self.item is None:
            raise ClusterError("not found", 404)
        return copy.deepcopy(self.item)

    async def create(self, path, body):
        assert self.item is None

        await self.replace(path, body)

    async def replace(self, path, body):
        if self.refusal:
            raise self.refusal
        self.item = copy.deepcopy(body)

    def data(self, key):
        return json.loads(self.item["data"][key])


class Bench:
    """
    A store with its API server, and a clock that is set by hand.
    """

    def __init__(self):
        self.api = Api()
        self.now = 100.0
        self.metrics = ControllerMetrics()
        self.store = self.begin("hub")

    def begin(self, project):
        return Store(
            self.api,
            config(project),
            namespace="harbor-cache",
            name="q",
            metrics=self.metrics,
            clock=lambda: self.now,
        )

    async def apply(self, verdict=VERDICT):
        self.now += 30.0
        return await self.store.apply(verdict)


def config(project):
    return Config.model_validate(
        {
            "apiVersion": "harbor-cache.io/v1",
            "kind": "Config",
            "harbor": {"url": f"https://{HARBOR}"},
            "registries": [{"host": "docker.io", "project": project}],
        }
    )


@pytest.fixture
def bench():
    return Bench()


async def test_a_config_map_that_was_deleted_is_made_again(bench):
    """
    The quarantine begins anew; former rules and what was dismissed by hand are not lost.
    """
    await bench.apply()
    bench.store.reconfigure(config("new"))
    bench.api.item["data"][QUARANTINE_KEY] = ""
    await bench.apply(Verdict())
    await bench.apply(Verdict(images={"docker.io/b:1": (BAD, "why")}))
    bench.api.item = None

    forgotten = await bench.apply()

    assert {IMAGE, "docker.io/b:1"} <= set(forgotten)
    assert {} == bench.api.data(QUARANTINE_KEY)["images"]
    assert [IMAGE] == bench.api.data(LEDGER_KEY)["dismissed"]
    assert ["new", "hub"] == [rule["project"] for rule in bench.api.data(FORMER_KEY)["rules"]]


async def test_what_was_lost_with_it_may_come_in_again(bench):
    """
    Nobody has dismissed the entries one by one: new evidence counts as ever.
    """
    await bench.apply()
    bench.api.item = None
    await bench.apply(Verdict())

    await bench.apply()

    assert [IMAGE] == list(bench.api.data(QUARANTINE_KEY)["images"])


@pytest.mark.parametrize("item", [None, {"metadata": {}}], ids=["absent", "empty"])
async def test_what_can_be_read_and_not_written_is_known(bench, item):
    """
    A controller without that right goes on with what it has read, and counts that it can't write.
    """
    bench.api.item = item
    bench.api.refusal = ClusterError("forbidden", 403)
    assert UNKNOWN == bench.store.onto(SEEN)

    await bench.apply()

    assert bench.store.ready
    assert SEEN == bench.store.onto(SEEN)
    assert ["hub"] == [pair.project for pair in bench.store.former.pairs]
    assert 1 == bench.metrics.registry.get_sample_value(
        "harbor_cache_recovery_failures_total", {"cause": "quarantine"}
    )


async def test_nobody_is_overwritten(bench):
    """
    After a conflict the ConfigMap is read again at once, and its state counts.
    """
    bench.api.refusal = ClusterError("the object has been modified", 409)
    await bench.apply()
    bench.api.refusal = None
    bench.now -= 30.0

    await bench.apply()

    assert [IMAGE] == list(bench.api.data(QUARANTINE_KEY)["images"])
