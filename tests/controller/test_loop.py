import copy

from datetime import UTC, datetime

import jsonpatch
import pytest

from tests.support.recovery_pods import pod, running, waiting
from webhook.config import Config, default_config
from webhook.controller import loop
from webhook.controller.loop import Recovery
from webhook.errors import ClusterError
from webhook.image.availability import Availability, State
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.former import FormerRules
from webhook.recovery.move import Side


CACHED = "harbor-cache.example.com/proxy.docker.io/library/nginx:1"


class Api:
    """
    One Pod, as an API server would patch it; `answer` is raised instead of patching.
    """

    def __init__(self, body):
        self.body = body
        self.patches = []
        self.answer = None
        self.silence = None

    async def get(self, path):
        if self.silence:
            raise self.silence
        if self.body is None:
            raise ClusterError("not found", 404)
        return copy.deepcopy(self.body)

    async def json_patch(self, path, operations):
        self.patches.append(operations)
        if self.answer:
            raise self.answer
        # RFC 6902 has no test for what is absent; the API server has.
        known = [each for each in operations if (each["op"], each["value"]) != ("test", None)]
        self.body = jsonpatch.apply_patch(self.body, known)
        return copy.deepcopy(self.body)


class Events:
    """
    Remembers what was told.
    """

    def __init__(self):
        self.reasons = []
        self.texts = []

    def tell(self, subject, reason, message, *, warning=False):
        self.reasons.append(reason)
        self.texts.append(message)


class Harbor:
    """
    Health as it was set.
    """

    state = State.UNAVAILABLE
    seconds = 60.0

    def since(self, project):
        return self.state, self.seconds

    def view(self):
        harbor = State.AVAILABLE if self.state is State.CACHE_ONLY else self.state
        return Availability(harbor, {"proxy.docker.io": self.state})


class Remembered:
    """
    Nothing is left alone, until a project is `out`.
    """

    out = None
    ready = True
    former = FormerRules()

    def suspended(self, project):
        return self.out

    def onto(self, availability):
        return availability

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
        self.memory = Remembered()
        self.mode = "enforce"
        self.no_rescue = ""
        self.metrics = ControllerMetrics()
        self.now = 100.0
        self.recovery = Recovery(
            self.api,
            default_config(),
            self.harbor,
            metrics=self.metrics,
            events=self.events,
            memory=self.memory,
            mode=lambda _: self.mode,
            no_rescue=lambda _: self.no_rescue,
            clock=lambda: self.now,
        )

    def see(self, *, listed=True):
        self.recovery.pods.view("labelled").seen(self.api.body, listed=listed)

    async def restore(self):
        """
        Plan, and give every Pod that is due its turn; return how many were.
        """
        await self.recovery._plan_all()
        planned = len(self.recovery._turns)
        for _ in range(planned):
            namespace, uid = await self.recovery._turns.next()
            refused = None
            try:
                refused = await self.recovery._move(uid)
            finally:
                self.recovery._turns.done(namespace, uid, refused=refused)
        return planned

    def wait_upstream(self, *, message="429 Too Many Requests", **metadata):
        """
        Let the Pod wait for its upstream, as if it had never been rewritten.
        """
        status = waiting("web", "nginx:1", message=f'pulling image "nginx:1": {message}')
        self.api.body = pod({"web": "nginx:1"}, [status])
        self.api.body["metadata"] |= {"labels": {}, "annotations": {}, **metadata}
        self.harbor.state = State.AVAILABLE
        self.see(listed=False)
        self.now += 31.0
        # The kubelet tries again, and fails again.
        self.api.body["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] = (
            "ImagePullBackOff"
        )
        self.see(listed=False)
        self.api.body["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] = (
            "ErrImagePull"
        )
        self.see(listed=False)

    def fence(self, why):
        """
        Read the config again, with a fence that says *why* nothing may be rescued.
        """
        self.no_rescue = why
        self.recovery.reconfigure(default_config())

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


async def test_a_move_that_somebody_takes_back_is_not_repeated(bench):
    """
    GitOps sets Harbor's image again: that is told once, and left.
    """
    bench.see()
    await bench.restore()
    bench.api.body["spec"]["containers"][0]["image"] = CACHED
    for _ in range(3):
        bench.now += 1000.0
        bench.see(listed=False)

        assert 0 == await bench.restore()
    assert ["HarborCacheRestored", "HarborCacheNotRestored"] == bench.events.reasons
    assert 1 == bench.count("recovery_failures_total", cause="taken-back")


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
    _, uid = await bench.recovery._turns.next()
    happened(bench)

    await bench.recovery._move(uid)

    assert [] == bench.api.patches
    assert [] == bench.events.reasons


POLICY = "ValidatingAdmissionPolicy 'only-harbor' with binding 'b' denied request: no"
REFUSALS = {
    "Pod Security": ClusterError(
        'pods "web" is forbidden: violates PodSecurity "restricted"', 403
    ),
    "a webhook without a code": ClusterError('admission webhook "a.example.com" denied it', 400),
    "a webhook's 429": ClusterError(
        'admission webhook "a.example.com" denied the request: x', 429
    ),
    "a webhook's 503": ClusterError(
        'admission webhook "a.example.com" denied the request: x', 503
    ),
    "a webhook that is gone": ClusterError('failed calling webhook "a.example.com": EOF', 500),
    "a conflict": ClusterError("the object has been modified", 409),
    "a policy": ClusterError(POLICY, 422, detailed=True),
    "a webhook that hangs": ClusterError("no answer within 15 s", late=True),
}


@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_one_pod_s_affair(bench, error):
    """
    It is told once and tried ever more slowly, for as long as the Pod waits.
    """
    bench.see()
    bench.api.answer = error

    for _ in range(10):
        await bench.restore()
    assert 1 == len(bench.api.patches)

    for _ in range(20):
        bench.now += 301.0
        await bench.restore()
    assert 21 == len(bench.api.patches)
    assert 21 == bench.count("recovery_failures_total", cause="refused")
    assert ["HarborCacheRestoreRefused"] == bench.events.reasons

    bench.api.answer = None
    bench.now += 301.0
    await bench.restore()
    assert "nginx:1" == bench.api.body["spec"]["containers"][0]["image"]


async def test_a_missing_right_is_told_as_such(bench):
    """
    Whoever took a rule out of the ClusterRole reads where to look.
    """
    bench.see()
    bench.api.answer = ClusterError(
        'pods "web" is forbidden: User "u" cannot patch resource "pods" in API group ""', 403
    )

    await bench.restore()

    assert 1 == bench.count("recovery_failures_total", cause="forbidden")
    assert "by RBAC" in bench.events.texts[0]


async def test_a_failed_test_is_no_refusal(bench):
    """
    The Pod changed under our hands: it is read again, soon, and nobody is told.
    """
    bench.see()
    bench.api.answer = ClusterError("the server rejected our request", 422)
    await bench.restore()
    bench.api.answer = None
    assert 0 == await bench.restore()
    bench.now += 2.0

    assert 1 == await bench.restore()
    assert "nginx:1" == bench.api.body["spec"]["containers"][0]["image"]
    assert ["HarborCacheRestored"] == bench.events.reasons


async def test_a_patch_that_arrives_late_was_still_ours(bench):
    """
    Whoever holds it may let it pass after all: the Pod has moved then, and nobody took it back.
    """
    bench.see()
    bench.api.answer = ClusterError("no answer within 15 s", late=True)
    await bench.restore()
    uid = bench.api.body["metadata"]["uid"]
    memory = bench.recovery.pods.cases[uid].memory.of("web")

    assert (Side.UPSTREAM, "nginx:1") == memory.sent
    assert "was not answered" in bench.events.texts[0]


async def test_silence_before_the_patch_concerns_the_api_server(bench):
    """
    Where not even the Pod can be read, no webhook is to blame.
    """
    bench.see()
    bench.api.silence = ClusterError("no answer within 15 s", late=True)

    with pytest.raises(ClusterError, match="no answer"):
        await bench.restore()
    assert [] == bench.events.reasons


@pytest.mark.parametrize("status", [0, 401, 429, 500, 503])
async def test_what_concerns_the_api_server_slows_all_down(bench, status):
    """
    An API server in trouble is no refusal, and nobody is told.
    """
    bench.see()
    bench.api.answer = ClusterError("too many", status)

    with pytest.raises(ClusterError, match="too many"):
        await bench.restore()
    assert [] == bench.events.reasons


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


async def test_a_suspended_project_is_unavailable(bench):
    """
    Probes say that all is well, nodes say otherwise: nodes are right.
    """
    bench.harbor.state = State.AVAILABLE
    bench.see()
    assert 0 == await bench.restore()

    bench.memory.out = 60.0

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
    for reason in ("ErrImagePull", "ImagePullBackOff", "ErrImagePull"):
        status = waiting("web", CACHED, reason)
        bench.api.body["status"]["containerStatuses"] = [status]
        bench.see(listed=False)
        bench.now += 16.0
    bench.now -= 15.0

    assert 1 == await bench.restore()
    assert ["docker.io/library/nginx:1"] == list(bench.recovery._evidence._failures)


async def test_an_outage_is_no_evidence(bench):
    """
    While Harbor is gone nothing can be said about an image.
    """
    bench.see()
    await bench.restore()

    assert not bench.recovery._evidence._failures


async def test_a_pod_that_waits_for_its_upstream_is_rescued(bench):
    """
    Image, record and label in one patch, one Event, one count; restored Pods keep their own words.
    """
    bench.wait_upstream()

    assert 1 == await bench.restore()

    metadata = bench.api.body["metadata"]
    assert CACHED == bench.api.body["spec"]["containers"][0]["image"]
    assert "nginx:1" == metadata["annotations"]["original.harbor-cache.io/web"]
    assert "true" == metadata["labels"]["harbor-cache.io/rewritten"]
    assert ["HarborCacheRescued"] == bench.events.reasons
    assert 1 == bench.count("pods_recovered_total", cause="upstream-limited")


NO_RESCUE = {
    "the namespace has not opted in": lambda b: setattr(b, "mode", ""),
    "the namespace is in audit": lambda b: setattr(b, "mode", "audit"),
    "the fence has other rules": lambda b: b.fence("rendered from other rules"),
    "Harbor is not available": lambda b: setattr(b.harbor, "state", State.UNAVAILABLE),
    "nothing is known of Harbor": lambda b: setattr(b.harbor, "state", State.UNKNOWN),
    "the Pod has opted out": lambda b: b.wait_upstream(labels={"harbor-cache.io/mode": "off"}),
    "the node is full": lambda b: b.wait_upstream(message="no space left on device"),
}


@pytest.mark.parametrize("happens", NO_RESCUE.values(), ids=NO_RESCUE)
async def test_what_is_not_rescued(bench, happens):
    """
    Rescue goes where admission goes, and nowhere else.
    """
    bench.wait_upstream()
    happens(bench)

    assert 0 == await bench.restore()
    assert [] == bench.api.patches
    audited = bench.count("pods_to_rescue", mode="audit")
    assert (1 if bench.mode == "audit" else 0) == audited


async def test_an_ephemeral_container_alone_is_told_about(bench):
    """
    A Pod whose only rewritten image is an ephemeral container has no label; the census finds it.
    """
    debug = waiting("debug", CACHED)
    bench.api.body = pod({"web": "nginx:1"}, [running("web", "nginx:1")])
    bench.api.body["metadata"] |= {"labels": {}, "annotations": {}}
    bench.api.body["spec"]["ephemeralContainers"] = [{"name": "debug", "image": CACHED}]
    bench.api.body["status"]["ephemeralContainerStatuses"] = [debug]
    for _ in range(2):
        bench.recovery.pods.view("census").seen(bench.api.body, listed=True)
        bench.now += 31.0

    assert 0 == await bench.restore()
    assert [] == bench.api.patches
    assert ["HarborCacheNotRestored"] == bench.events.reasons
    assert "kubectl debug" in bench.events.texts[0]
    assert 1 == bench.count("recovery_failures_total", cause="ephemeral-container")


async def test_other_rules_than_the_fence_s_are_told(bench):
    """
    What the cluster would refuse is not tried, and /status says why.
    """
    bench.fence("rendered from other rules")

    assert "rendered from other rules" == bench.recovery.status()["rescue"]
    bench.fence("")
    assert "on" == bench.recovery.status()["rescue"]


async def test_what_somebody_wrote_by_hand_is_not_ours(bench):
    """
    A Pod without our label that names Harbor's image itself: nothing is done, and nothing said.
    """
    bench.api.body["metadata"]["labels"] = {}
    bench.see()

    assert 0 == await bench.restore()
    assert [] == bench.events.reasons


async def test_rules_of_before_still_restore(bench):
    """
    On-call takes the broken registry out of the config: Pods that wait for it are not stranded.
    """
    config = default_config()
    bench.memory.former = FormerRules().with_rules(config.rules, datetime.now(UTC))
    smaller = {**config.model_dump(by_alias=True), "registries": config.registries[1:]}
    bench.recovery.reconfigure(Config.model_validate(smaller))
    bench.see()

    assert 1 == await bench.restore()
    assert "nginx:1" == bench.api.body["spec"]["containers"][0]["image"]
    former = bench.recovery.status()["formerRules"]
    assert [{"registry": "docker.io", "project": "proxy.docker.io"}] == former


async def test_nothing_is_strange_before_the_rules_of_before_are_read(bench):
    """
    A new leader must not tell people of Pods that it is about to restore.
    """
    bench.api.body["metadata"]["annotations"]["original.harbor-cache.io/web"] = "evil/x"
    bench.memory.ready = False
    bench.see()
    await bench.restore()
    assert [] == bench.events.reasons

    bench.memory.ready = True
    await bench.restore()
    assert ["HarborCacheNotRestored"] == bench.events.reasons


async def test_a_pod_that_can_not_be_planned_holds_up_no_other(bench, monkeypatch):
    """
    It is passed over, and counted; the others are restored.
    """
    bench.see()
    bad = copy.deepcopy(bench.api.body)
    bad["metadata"] |= {"uid": "bad", "name": "bad"}
    bench.recovery.pods.view("labelled").seen(bad, listed=True)
    plan = loop.plan

    def fails(pod, *arguments, **named):
        if pod.uid == "bad":
            raise KeyError("spec")
        return plan(pod, *arguments, **named)

    monkeypatch.setattr(loop, "plan", fails)

    assert 1 == await bench.restore()
    assert "nginx:1" == bench.api.body["spec"]["containers"][0]["image"]
    assert 1 == bench.count("recovery_failures_total", cause="internal-error")


async def test_a_pod_that_can_not_be_moved_waits_alone(bench):
    """
    Whatever is raised while it is moved, it is tried again, later and later, and counted.
    """
    bench.see()
    bench.api.answer = RuntimeError("nobody knows")
    uid = bench.api.body["metadata"]["uid"]

    assert await bench.recovery._take_turn(uid)
    assert 0 == await bench.restore()
    assert 1 == bench.count("recovery_failures_total", cause="internal-error")

    bench.api.answer = None
    bench.now += 6.0
    assert 1 == await bench.restore()
    assert "nginx:1" == bench.api.body["spec"]["containers"][0]["image"]
