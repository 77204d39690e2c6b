import copy

import jsonpatch
import pytest

from tests.support.recovery_pods import pod, running, waiting
from webhook.config import default_config
from webhook.controller.loop import Recovery
from webhook.errors import ClusterError
from webhook.image.availability import State
from webhook.process.metrics import ControllerMetrics


CACHED = "harbor-cache.example.com/proxy.docker.io/library/nginx:1"


class Api:
    """
    One Pod, as an API server would patch it; `answer` is raised instead of patching.
    """

    def __init__(self, body):
        self.body = body
        self.patches = []
        self.answer = None

    async def get(self, path):
        if self.body is None:
            raise ClusterError("not found", 404)
        return copy.deepcopy(self.body)

    async def json_patch(self, path, operations):
        self.patches.append(operations)
        if self.answer:
            raise self.answer
        self.body = jsonpatch.apply_patch(self.body, operations)
        return copy.deepcopy(self.body)


class Events:
    """
    Remembers reasons.
    """

    def __init__(self):
        self.reasons = []

    def tell(self, subject, reason, message, *, warning=False):
        self.reasons.append(reason)


class Harbor:
    """
    Health as it was set.
    """

    state = State.UNAVAILABLE
    seconds = 60.0

    def since(self, project):
        return self.state, self.seconds


class NoQuarantine:
    """
    Nothing is left alone, until a project is `out`.
    """

    out = None

    def counted_out(self, project):
        return self.out

    async def apply(self, verdict):
        return ()


class Bench:
    """
    A recovery with all that it talks to.
    """

    def __init__(self):
        self.api = Api(pod({"web": CACHED}, [waiting("web", CACHED)], records={"web": "nginx:1"}))
        self.events = Events()
        self.harbor = Harbor()
        self.quarantine = NoQuarantine()
        self.metrics = ControllerMetrics()
        self.now = 100.0
        self.recovery = Recovery(
            self.api,
            default_config(),
            self.harbor,
            metrics=self.metrics,
            events=self.events,
            quarantine=self.quarantine,
            clock=lambda: self.now,
        )

    def see(self):
        self.recovery.pods.seen(self.api.body, listed=True)

    async def restore(self):
        await self.recovery._plan_all()
        planned = self.recovery._queue.qsize()
        while not self.recovery._queue.empty():
            uid = self.recovery._queue.get_nowait()
            await self.recovery._restore(uid)
            self.recovery._queued.discard(uid)
        return planned

    def count(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"harbor_cache_{name}", labels)


@pytest.fixture
def bench():
    return Bench()


async def test_a_pod_is_put_back_once(bench):
    """
    One patch, one Event, one count; and nothing when the new image fails as well.
    """
    bench.see()

    assert 1 == await bench.restore()
    assert "nginx:1" == bench.api.body["spec"]["containers"][0]["image"]
    assert ["HarborCacheRestored"] == bench.events.reasons
    assert 1 == bench.count("pods_recovered_total", cause="project-unavailable")

    bench.api.body["status"]["containerStatuses"] = [waiting("web", "nginx:1")]
    bench.see()
    assert 0 == await bench.restore()


async def test_a_container_that_came_back_to_harbor_is_left(bench):
    """
    Somebody sets Harbor's image again: once per container is enough.
    """
    bench.see()
    await bench.restore()
    bench.api.body["spec"]["containers"][0]["image"] = CACHED
    bench.see()

    assert 0 == await bench.restore()


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param(
            lambda b: b.api.body["status"].update(containerStatuses=[running("web", CACHED)]),
            id="it runs",
        ),
        pytest.param(
            lambda b: b.api.body["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
            id="it is being deleted",
        ),
        pytest.param(lambda b: b.api.body["metadata"].update(uid="another"), id="another Pod"),
        pytest.param(lambda b: setattr(b.api, "body", None), id="it is gone"),
        pytest.param(lambda b: setattr(b.harbor, "state", State.AVAILABLE), id="Harbor is back"),
        pytest.param(lambda b: setattr(b.harbor, "state", State.UNKNOWN), id="nothing is known"),
    ],
)
async def test_it_is_looked_at_once_more(bench, happened):
    """
    What has changed between the plan and the patch is seen, and nothing is sent.
    """
    bench.see()
    await bench.recovery._plan_all()
    uid = bench.recovery._queue.get_nowait()
    happened(bench)

    await bench.recovery._restore(uid)

    assert [] == bench.api.patches
    assert [] == bench.events.reasons


@pytest.mark.parametrize("status", [409, 422])
async def test_a_refusal_is_counted_and_not_looped_on(bench, status):
    """
    A refused patch is tried a few more times, later and later, and then given up with an Event.
    """
    bench.see()
    bench.api.answer = ClusterError("no", status)

    for _ in range(10):
        await bench.restore()
    assert 1 == len(bench.api.patches)

    for _ in range(10):
        bench.now += 1000.0
        await bench.restore()
    assert 5 == len(bench.api.patches)
    assert 5 == bench.count("recovery_failures_total", cause="conflict")
    assert ["HarborCacheRestoreRefused"] == bench.events.reasons


async def test_other_errors_reach_the_caller(bench):
    """
    An API server in trouble slows everything down, not only this Pod.
    """
    bench.see()
    bench.api.answer = ClusterError("too many", 429)

    with pytest.raises(ClusterError, match="too many"):
        await bench.restore()


async def test_what_is_left_is_told_once(bench):
    """
    A record that proves nothing is counted once, however often it is looked at.
    """
    bench.api.body["metadata"]["annotations"]["original.harbor-cache.io/web"] = "evil/x"
    bench.see()

    for _ in range(5):
        assert 0 == await bench.restore()

    assert ["HarborCacheNotRestored"] == bench.events.reasons
    assert 1 == bench.count("recovery_failures_total", cause="record-mismatch")


async def test_a_project_that_is_counted_out_is_unavailable(bench):
    """
    Probes say that all is well, nodes say otherwise: nodes are right.
    """
    bench.harbor.state = State.AVAILABLE
    bench.see()
    assert 0 == await bench.restore()

    bench.quarantine.out = 60.0

    assert 1 == await bench.restore()


async def test_recovery_can_be_switched_off_and_on(bench):
    """
    The config is read again while the controller runs.
    """
    off = default_config().model_copy(
        update={"recovery": default_config().recovery.model_copy(update={"enabled": False})}
    )
    bench.recovery.reconfigure(off)
    assert not bench.recovery._config.enabled

    bench.recovery.reconfigure(default_config())
    assert bench.recovery._config.enabled


async def test_a_pull_that_keeps_failing_is_evidence(bench):
    """
    What Harbor could not serve while it was there counts towards the quarantine.
    """
    bench.harbor.state = State.AVAILABLE
    bench.see()
    bench.now += 31.0

    assert 1 == await bench.restore()
    assert ["docker.io/library/nginx:1"] == list(bench.recovery._evidence._failures)


async def test_an_outage_is_no_evidence(bench):
    """
    While Harbor is gone nothing can be said about an image.
    """
    bench.see()
    await bench.restore()

    assert not bench.recovery._evidence._failures
