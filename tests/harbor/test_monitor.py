"""
The monitor against the stand-in: what each failure makes of what we know.
"""

import asyncio
import json
import ssl

import pytest
import trustme

from prometheus_client import CollectorRegistry, generate_latest

from webhook.config import parse_config
from webhook.demo.standin import Fault, HarborStandIn, Robot, UpstreamState
from webhook.harbor.monitor import Monitor
from webhook.image.availability import State
from webhook.process.metrics import FileMetrics, HarborMetrics


QUAY = "proxy.quay.io"
FAST = {"interval": "50ms", "timeout": "4s", "maxAge": "20s", "canaryInterval": "10s"}
# For what ends in a timeout; still long enough for an answer on a busy machine.
IMPATIENT = FAST | {"timeout": "1s"}


def config(url, probe=FAST, registries=None, pull_secrets=(), **harbor):
    data = {
        "apiVersion": "harbor-cache.io/v1",
        "kind": "Config",
        "harbor": {"url": url, **harbor},
        "probe": probe,
        "pullSecrets": list(pull_secrets),
    }
    if registries is not None:
        data["registries"] = registries
    return parse_config(json.dumps(data), {})


def with_canary():
    return [
        {"host": "docker.io", "project": "proxy.docker.io"},
        {"host": "quay.io", "project": QUAY, "canary": "prometheus/busybox:latest"},
    ]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def harbor():
    async with HarborStandIn(slow_delay=5.0) as harbor:
        yield harbor


async def rounds(monitor, number):
    for _ in range(number):
        await monitor.round()


async def test_one_round_is_enough_to_know_that_all_is_well(harbor):
    """
    After one round Harbor and its four projects are available.
    """
    monitor = Monitor(config(harbor.url))
    await monitor.round()
    view = monitor.view()

    assert State.AVAILABLE is view.harbor
    assert {State.AVAILABLE} == set(view.projects.values())
    assert 4 == len(view.projects)


FAULTS = {
    Fault.REFUSED: "refused",
    Fault.BLACK_HOLE: "timeout",
    Fault.HANG: "timeout",
    Fault.SLOW: "timeout",
    Fault.BAD_GATEWAY: "http-5xx",
    Fault.SERVER_ERROR: "http-5xx",
    Fault.UNAUTHORIZED: "unauthorized",
    Fault.NOT_FOUND: "not-found",
    Fault.HTML: "not-harbor",
    Fault.REDIRECT: "redirect",
    Fault.ENDLESS: "not-harbor",
}


@pytest.mark.parametrize(("fault", "cause"), FAULTS.items())
async def test_every_fault_ends_in_unavailable(harbor, fault, cause):
    """
    Two rounds with any fault make Harbor and all projects unavailable, with the cause named.

    Where nothing is answered, the first one keeps new images already.
    """
    monitor = Monitor(config(harbor.url, probe=IMPATIENT if cause == "timeout" else FAST))
    await monitor.round()
    await harbor.set_fault(fault)
    await monitor.round()
    after_one, held = monitor.view().harbor, monitor.since(QUAY)[0]
    await monitor.round()
    view, status = monitor.view(), monitor.status()

    assert State.AVAILABLE is held
    assert after_one is (State.UNAVAILABLE if cause == "timeout" else State.AVAILABLE)
    assert State.UNAVAILABLE is monitor.since(QUAY)[0]
    assert State.UNAVAILABLE is view.harbor
    assert {State.UNAVAILABLE} == set(view.projects.values())
    assert cause == status.harbor.cause


@pytest.mark.parametrize("then", [Fault.NONE, Fault.BAD_GATEWAY])
async def test_one_probe_without_an_answer_keeps_images_until_one_answers(harbor, then):
    """
    Whatever the thresholds say, and whatever the answer is: they judge it as they judge others.
    """
    monitor = Monitor(config(harbor.url, probe=IMPATIENT | {"failureThreshold": 9}))
    seen = []
    for fault in (Fault.NONE, Fault.HANG, then):
        await harbor.set_fault(fault)
        await monitor.round()
        status = monitor.status().harbor
        seen.append((monitor.view().harbor, monitor.view().project(QUAY), status.state))

    assert [(State.AVAILABLE,) * 3, (State.UNAVAILABLE,) * 3, (State.AVAILABLE,) * 3] == seen
    assert State.AVAILABLE is monitor.since(QUAY)[0]


async def test_every_fault_is_recovered_from(harbor):
    """
    Two good rounds after a fault make everything available again.
    """
    monitor = Monitor(config(harbor.url))
    await harbor.set_fault(Fault.REFUSED)
    await rounds(monitor, 3)
    before = monitor.view().harbor
    await harbor.set_fault(Fault.NONE)
    await rounds(monitor, 2)

    assert (State.UNAVAILABLE, State.AVAILABLE) == (before, monitor.view().harbor)
    assert {State.AVAILABLE} == set(monitor.view().projects.values())


async def test_a_name_that_does_not_resolve():
    """
    An unknown host is unavailable, by name.
    """
    monitor = Monitor(config("https://harbor-cache.invalid"))
    await rounds(monitor, 2)

    assert State.UNAVAILABLE is monitor.view().harbor
    assert monitor.status().harbor.cause in {"dns", "timeout"}


@pytest.fixture
def tls():
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return ca, context


async def test_a_certificate_that_does_not_verify(tls, tmp_path):
    """
    Without the right CA Harbor is unavailable; once the bundle is put in place it is available.
    """
    ca, context = tls
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(bundle)
    async with HarborStandIn(tls=context) as harbor:
        monitor = Monitor(config(harbor.url, caFile=str(bundle)))
        await rounds(monitor, 2)
        state, cause = monitor.view().harbor, monitor.status().harbor.cause
        ca.cert_pem.write_to_path(bundle)
        await rounds(monitor, 2)

    assert (State.UNAVAILABLE, "tls") == (state, cause)
    assert State.AVAILABLE is monitor.view().harbor


async def test_a_ca_bundle_that_is_absent_is_a_failed_probe(tmp_path):
    """
    An unreadable CA bundle ends no monitor: everything is unavailable and the file is named.
    """
    monitor = Monitor(config("https://127.0.0.1:9", caFile=str(tmp_path / "none.pem")))
    await rounds(monitor, 2)

    assert State.UNAVAILABLE is monitor.view().harbor
    assert "none.pem" in monitor.status().harbor.why


async def test_a_bad_ca_bundle_leaves_the_last_good_one(tls, tmp_path):
    """
    A bundle that was overwritten with junk is shown as refused, and Harbor is still available.
    """
    ca, context = tls
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(bundle)
    metrics = FileMetrics(registry := CollectorRegistry())
    refused = []
    async with HarborStandIn(tls=context) as harbor:
        monitor = Monitor(config(harbor.url, caFile=str(bundle)), files=metrics)
        for text in (None, "junk", ca.cert_pem.bytes().decode()):
            if text is not None:
                bundle.write_text(text)
            await rounds(monitor, 2)
            refused.append(registry.get_sample_value("harbor_cache_file_refused", {"file": "ca"}))
            assert State.AVAILABLE is monitor.view().harbor
        monitor.reconfigure(config("https://127.0.0.1:9"))

    assert [0.0, 1.0, 0.0] == refused


async def test_plain_http_behind_https():
    """
    A Harbor that speaks no TLS on its https:// port is a TLS failure.
    """
    async with HarborStandIn() as harbor:
        monitor = Monitor(config(harbor.url.replace("http:", "https:")))
        await rounds(monitor, 2)

    assert "tls" == monitor.status().harbor.cause


@pytest.mark.parametrize("component", ["core", "database", "registry"])
async def test_components_that_a_pull_needs(harbor, component):
    """
    Without core, database or registry Harbor is unavailable.
    """
    harbor.down = {component}
    monitor = Monitor(config(harbor.url))
    await rounds(monitor, 2)

    assert State.UNAVAILABLE is monitor.view().harbor


@pytest.mark.parametrize("component", ["jobservice", "portal", "registryctl"])
async def test_components_that_only_degrade(harbor, component):
    """
    Without the others Harbor stays available, and the status names what is out.
    """
    harbor.down = {component}
    monitor = Monitor(config(harbor.url))
    await rounds(monitor, 2)

    assert State.AVAILABLE is monitor.view().harbor
    assert (component,) == monitor.status().degraded


async def test_without_redis_harbor_is_slow_but_serves(harbor):
    """
    Redis down makes every answer slow; within the timeout that is no failure.
    """
    harbor.down = {"redis"}
    monitor = Monitor(config(harbor.url))
    await monitor.round()

    assert State.AVAILABLE is monitor.view().harbor
    assert ("jobservice", "redis") == monitor.status().degraded


async def test_a_project_that_is_absent_is_out_alone(harbor):
    """
    A project that was deleted is unavailable while the others serve.
    """
    project = harbor.state.project(QUAY)
    del harbor.state.projects[project.id]
    monitor = Monitor(config(harbor.url))
    await rounds(monitor, 2)
    view = monitor.view()

    assert (State.AVAILABLE, State.UNAVAILABLE) == (view.harbor, view.project(QUAY))
    assert State.AVAILABLE is view.project("proxy.docker.io")


async def test_a_project_that_is_no_proxy(harbor):
    """
    An ordinary project of the right name caches nothing: it is unavailable.
    """
    harbor.state.project(QUAY).registry_id = None
    monitor = Monitor(config(harbor.url))
    await rounds(monitor, 2)

    assert State.UNAVAILABLE is monitor.view().project(QUAY)
    assert "not-a-proxy-project" == monitor.status().projects[QUAY].cause


async def test_an_upstream_that_harbor_calls_unhealthy_is_cache_only(harbor):
    """
    A project whose upstream is down is cache-only, and available again when Harbor says so.
    """
    monitor = Monitor(config(harbor.url))
    await monitor.round()
    harbor.upstream_of(QUAY).state = UpstreamState.REFUSED
    await harbor.check_upstreams()
    await rounds(monitor, 2)
    during = monitor.view().project(QUAY)
    harbor.upstream_of(QUAY).state = UpstreamState.UP
    await harbor.check_upstreams()
    await rounds(monitor, 2)

    assert (State.CACHE_ONLY, State.AVAILABLE) == (during, monitor.view().project(QUAY))


@pytest.fixture
def robot_files(tmp_path):
    (tmp_path / "username").write_text("robot$probe\n", "utf-8")
    (tmp_path / "password").write_text("wrong\n", "utf-8")
    return {
        "usernameFile": str(tmp_path / "username"),
        "passwordFile": str(tmp_path / "password"),
    }


async def test_a_private_project_needs_the_robot_account(harbor, robot_files, tmp_path):
    """
    A private project is available with a pull secret alone; the robot's files are read each time.
    """
    harbor.state.project(QUAY).metadata["public"] = "false"
    secret = add_robot(harbor)
    anonymous = Monitor(config(harbor.url, **robot_files))
    monitor = Monitor(config(harbor.url, pull_secrets=["pull"], **robot_files))
    await rounds(monitor, 2)
    wrong = monitor.view().project(QUAY)
    (tmp_path / "password").write_text(secret, "utf-8")
    await rounds(monitor, 2)
    await rounds(anonymous, 2)

    assert State.UNAVAILABLE is anonymous.view().project(QUAY)
    assert State.UNAVAILABLE is wrong
    assert State.AVAILABLE is monitor.view().project(QUAY)


def add_robot(harbor):
    access = [
        {"resource": "repository", "action": "pull"},
        {"resource": "project", "action": "read"},
    ]
    permissions = [{"kind": "project", "namespace": "*", "access": access}]
    harbor.state.robots[1] = Robot(1, "robot$probe", "system", "Secr3t-Secr3t", -1, permissions)
    return "Secr3t-Secr3t"


async def test_credentials_go_to_harbor_alone_and_show_nowhere(
    harbor, robot_files, tmp_path, capsys
):
    """
    The robot's secret is in no status, no metric and no log line.
    """
    secret = add_robot(harbor)
    (tmp_path / "password").write_text(secret, "utf-8")
    registry = CollectorRegistry()
    monitor = Monitor(config(harbor.url, **robot_files), HarborMetrics(registry))
    await monitor.round()
    await harbor.set_fault(Fault.SERVER_ERROR)
    await rounds(monitor, 2)
    shown = json.dumps(monitor.status().as_json()) + generate_latest(registry).decode()
    shown += "".join(capsys.readouterr())

    assert "unavailable" in shown
    assert secret not in shown


async def test_a_hung_upstream_shows_in_the_canary_alone(harbor):
    """
    With a hung upstream everything is healthy but the canary, which makes its project unavailable.
    """
    monitor = Monitor(config(harbor.url, probe=IMPATIENT, registries=with_canary()))
    await monitor.round()
    before = monitor.view().project(QUAY)
    harbor.upstream_of(QUAY).state = UpstreamState.HUNG
    monitor._looks._canaries.clear()  # As if canaryInterval had passed.
    await rounds(monitor, 2)
    view = monitor.view()

    assert State.AVAILABLE is before
    assert (State.AVAILABLE, State.UNAVAILABLE) == (view.harbor, view.project(QUAY))
    assert State.AVAILABLE is view.project("proxy.docker.io")


async def test_the_canary_is_asked_rarely_while_all_is_well(harbor):
    """
    Each canary reaches the upstream, so it is asked once per canaryInterval and not per round.
    """
    clock = Clock()
    monitor = Monitor(config(harbor.url, registries=with_canary()), clock=clock)
    await rounds(monitor, 5)
    clock.now += 11.0
    await rounds(monitor, 5)
    canaries = [seen for seen in harbor.requests if seen.path.startswith("/v2/proxy")]

    assert ["HEAD", "HEAD"] == [seen.method for seen in canaries]


async def test_too_many_requests_are_no_failure(harbor):
    """
    A canary that is answered with 429 says nothing against its project.
    """
    harbor.upstream_of(QUAY).state = UpstreamState.RATE_LIMITED
    monitor = Monitor(config(harbor.url, registries=with_canary()))
    await rounds(monitor, 3)

    assert State.AVAILABLE is monitor.view().project(QUAY)


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.NOT_FOUND, Fault.SERVER_ERROR, Fault.HANG])
async def test_a_project_whose_pulls_fail_is_out_by_its_canary(harbor, fault):
    """
    A page with 200, 404, 500 or a hang in place of the canary's manifest is no success.
    """
    monitor = Monitor(config(harbor.url, probe=IMPATIENT, registries=with_canary()))
    await monitor.round()
    harbor.pull_faults[QUAY] = fault
    monitor._looks._canaries.clear()
    await rounds(monitor, 2)

    assert State.AVAILABLE is monitor.view().harbor
    assert State.UNAVAILABLE is monitor.view().project(QUAY)


async def test_knowledge_that_is_too_old_is_unknown(harbor):
    """
    A view older than maxAge says that nothing is known, until the next round.
    """
    clock = Clock()
    monitor = Monitor(config(harbor.url), clock=clock)
    await monitor.round()
    clock.now += 20.1
    stale, since = monitor.view(), monitor.since(QUAY)
    status = monitor.status().harbor
    await monitor.round()

    assert (State.UNKNOWN, State.UNKNOWN) == (stale.harbor, stale.project(QUAY))
    assert State.UNKNOWN is since[0]
    assert ("unknown", "stale") == (status.state, status.cause)
    assert State.AVAILABLE is monitor.view().harbor


async def test_since_counts_from_the_change(harbor):
    """
    A project of an unavailable Harbor is unavailable since Harbor is.
    """
    clock = Clock()
    monitor = Monitor(config(harbor.url), clock=clock)
    await monitor.round()
    await harbor.set_fault(Fault.REFUSED)
    await rounds(monitor, 2)
    clock.now += 3.0

    assert (State.UNAVAILABLE, 3.0) == monitor.since(QUAY)


async def test_it_runs_until_it_is_cancelled(harbor):
    """
    `run` starts its first round at once, keeps looking, and survives whatever a round raises.
    """
    monitor = Monitor(config(harbor.url))
    broken = monitor._looks._look_at_harbor
    calls = []

    async def breaks_once(*arguments):
        calls.append(None)
        if len(calls) == 1:
            raise RuntimeError("a mistake of ours")
        return await broken(*arguments)

    monitor._looks._look_at_harbor = breaks_once
    task = asyncio.create_task(monitor.run())
    async with asyncio.timeout(10):
        await monitor.first_round.wait()
        first = monitor.status().harbor.cause
        while monitor.view().harbor is not State.AVAILABLE:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert "internal-error" == first


async def test_a_round_never_takes_much_longer_than_its_deadline(harbor):
    """
    With everything hung a round ends with its timeout, and the loop stays free meanwhile.
    """
    await harbor.set_fault(Fault.HANG)
    monitor = Monitor(config(harbor.url, probe=IMPATIENT))
    loop = asyncio.get_running_loop()
    started = loop.time()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await monitor.round()
    ticking.cancel()
    took = loop.time() - started
    print(f"a hung round took {took:.3f} s, the loop ticked {ticks} times meanwhile")

    assert took < 4.0
    assert ticks > 0


async def test_metrics_say_what_the_view_says(harbor):
    """
    The gauges follow the view at the moment they are read, and failures are counted by cause.
    """
    clock = Clock()
    registry = CollectorRegistry()
    monitor = Monitor(config(harbor.url), HarborMetrics(registry), clock=clock)
    await monitor.round()
    good = registry.get_sample_value("harbor_cache_project_available", {"project": QUAY})
    harbor.state.project(QUAY).registry_id = None
    await rounds(monitor, 2)
    labels = {"project": QUAY, "cause": "not-a-proxy-project"}

    assert 1.0 == good
    assert 0.0 == registry.get_sample_value("harbor_cache_project_available", {"project": QUAY})
    assert 1.0 == registry.get_sample_value("harbor_cache_harbor_available")
    assert 2.0 == registry.get_sample_value("harbor_cache_probe_failures_total", labels)
    assert 3.0 == registry.get_sample_value("harbor_cache_probe_duration_seconds_count")
    clock.now += 21.0
    assert 21.0 == registry.get_sample_value("harbor_cache_snapshot_age_seconds")
    assert 0.0 == registry.get_sample_value("harbor_cache_harbor_available")


async def test_another_config_keeps_what_is_known_of_unchanged_projects(harbor):
    """
    A reload that adds a project keeps the others; another Harbor means that nothing is known.
    """
    monitor = Monitor(config(harbor.url))
    await monitor.round()
    registries = [*with_canary()[:1], {"host": "ghcr.io", "project": "proxy.ghcr.io"}]
    monitor.reconfigure(config(harbor.url, registries=registries))
    kept = monitor.view()
    monitor.reconfigure(config("http://127.0.0.1:9"))

    assert State.AVAILABLE is kept.harbor
    assert State.UNKNOWN is kept.project("proxy.ghcr.io")
    assert QUAY not in kept.projects
    assert State.UNKNOWN is monitor.view().harbor


async def test_states_are_logged_when_they_change_and_only_then(harbor, capsys):
    """
    Ten rounds without a change write nothing.
    """
    monitor = Monitor(config(harbor.url))
    await monitor.round()
    first = capsys.readouterr().out
    await rounds(monitor, 10)

    assert 5 == first.count("availability changed")
    assert "" == capsys.readouterr().out


async def test_a_harbor_that_flaps_does_not_make_decisions_flap(harbor):
    """
    While Harbor comes and goes forty times, the view changes a few times only.
    """
    monitor = Monitor(config(harbor.url, probe=FAST | {"interval": "100ms"}))
    task = asyncio.create_task(monitor.run())
    await monitor.first_round.wait()
    changes, before = 0, monitor.view().harbor
    for turn in range(40):
        await harbor.set_fault(Fault.NONE if turn % 2 else Fault.REFUSED)
        for _ in range(6):
            await asyncio.sleep(0.01)
            now = monitor.view().harbor
            changes += now is not before
            before = now
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    print(f"Harbor changed 40 times, the view {changes} times")

    assert changes <= 10
