"""
What a real Harbor was seen to do, and what is drift: plan shows it, apply mends it.
"""

import time

import pytest

from tests.support.provisioning import (
    apply_to,
    client_of,
    config_for,
    empty_harbor,
    everything,
    plan_of,
    writes_of,
)
from webhook.config import parse_config
from webhook.demo.standin import HarborStandIn, Robot, SimulatedUpstream, UpstreamState
from webhook.errors import ConfigError, HarborError
from webhook.harbor.client import Credentials, HarborClient
from webhook.provisioning.api import Api
from webhook.provisioning.apply import apply, plan_for
from webhook.provisioning.desired import read_desired
from webhook.provisioning.steps import ChangeEndpoint, ChangeRobot, Kind


QUAY = "proxy.quay.io"
PLAIN = {"provisioning": {"retention": None, "garbageCollection": None}}
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def step_of(plan, kind, name):
    return next(step for step in plan.steps if (step.kind, step.name) == (kind, name))


def expire(robot):
    robot.duration, robot.expires_at = 30, int(time.time()) - 60


def will_expire(robot):
    robot.expire_after(30)


def disable(robot):
    robot.disable = True


def disable_and_expire(robot):
    disable(robot)
    expire(robot)


def lose_right(robot):
    robot.permissions = robot.permissions[1:]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (expire, "expires on"),
        (will_expire, "expires on"),
        (disable, "is disabled: it is enabled"),
        (disable_and_expire, "is tried then, and renewed only if it is wrong"),
        (lose_right, "lacks rights: project:read on proxy.docker.io, repository:pull on"),
    ],
)
async def test_an_account_that_lets_nobody_in_keeps_its_secret(tmp_path, damage, words):
    """
    The account is mended by PUT; the secret that nodes hold stays, since it is right.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        robot = harbor.state.robots[1]
        secret = robot.secret
        damage(robot)
        planned = await plan_of(harbor, config)
        step = step_of(planned, Kind.ROBOT, "pull")
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)
        patches = [seen for seen in harbor.requests if seen.method == "PATCH"]

    assert words in " ".join(step.details)
    assert [step] == list(planned.writes)
    assert after.is_empty
    assert robot.lets_in
    assert (-1, -1) == (robot.duration, robot.expires_at)
    assert secret == robot.secret == (tmp_path / "robot-secret").read_text("utf-8").strip()
    assert [] == patches


async def test_an_account_that_lets_nobody_in_and_has_a_wrong_secret(tmp_path):
    """
    Both are mended in one apply: the account first, then its secret, which is tried.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        robot = harbor.state.robots[1]
        expire(robot)
        robot.secret = "An0ther-secret"
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)

    assert after.is_empty
    assert robot.secret == (tmp_path / "robot-secret").read_text("utf-8").strip()


async def test_a_new_secret_that_does_not_log_in_is_no_success(tmp_path, monkeypatch):
    """
    Harbor takes a secret for an account that it lets in no more: apply tries it, and says so.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        harbor.state.robots[1].secret = "An0ther-secret"
        monkeypatch.setattr(Robot, "lets_in", False)
        with pytest.raises(HarborError, match=r"robot\$pull does not log in with the secret"):
            await apply_to(harbor, config)


async def test_the_right_secret_behind_another_prefix_stays(tmp_path):
    """
    Where Harbor's prefix of such names was changed, the file gets the new name and no new secret.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        secret = harbor.state.robots[1].secret
        harbor.state.configuration["robot_name_prefix"] = "bot_"
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)

    assert after.is_empty
    assert "bot_pull\n" == (tmp_path / "robot-name").read_text("utf-8")
    assert secret == harbor.state.robots[1].secret


async def test_what_is_taken_out_of_the_config_is_taken_out_of_harbor(tmp_path):
    """
    Limits, the CA and the account of an upstream go back to what Harbor has without them.
    """
    sections = everything(tmp_path)
    (tmp_path / "ca.pem").write_text(PEM, "utf-8")
    upstream = sections["registries"][2]["upstream"]
    upstream["caFile"] = str(tmp_path / "ca.pem")
    async with empty_harbor() as harbor:
        await apply_to(harbor, config_for(harbor.url, **sections))
        full = harbor.state.endpoint("private.example")
        held = (full.ca_certificate, full.access_key)
        for key in ("maxUpstreamConnections", "maxKilobytesPerSecond"):
            del sections["registries"][2][key]
        for key in ("caFile", "usernameFile", "passwordFile"):
            del upstream[key]
        sections["registries"][2]["public"] = False
        config = config_for(harbor.url, **sections)
        planned = await plan_of(harbor, config)
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)
        project, endpoint = harbor.state.project("proxy.private"), full

    changed = step_of(planned, Kind.ENDPOINT, "private.example")
    assert (PEM, "account") == held
    assert ("CA certificate: taken away", "user: account → none") == changed.details
    assert ("max_upstream_conn: 20 → -1", "proxy_speed_kb: 5000 → -1") == (
        step_of(planned, Kind.PROJECT, "proxy.private").details
    )
    assert ("", "", "", True) == (
        endpoint.ca_certificate,
        endpoint.access_key,
        endpoint.access_secret,
        endpoint.insecure,
    )
    assert ("-1", "-1") == (
        project.metadata["max_upstream_conn"],
        project.metadata["proxy_speed_kb"],
    )
    assert after.is_empty


async def test_a_ca_is_exchanged_for_insecure_in_one_request(tmp_path):
    """
    Harbor checks the upstream after each change: a CA alone could never be taken away.
    """
    (tmp_path / "ca.pem").write_text(PEM, "utf-8")
    registry = {
        "host": "private.example",
        "project": "p",
        "upstream": {"caFile": str(tmp_path / "ca.pem")},
    }
    async with empty_harbor() as harbor:
        harbor.upstreams["https://private.example"] = SimulatedUpstream(self_signed=True)
        await apply_to(harbor, config_for(harbor.url, registries=[registry], **PLAIN))
        insecure = registry | {"upstream": {"insecure": True}}
        config = config_for(harbor.url, registries=[insecure], **PLAIN)
        (step,) = (await plan_of(harbor, config)).writes
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)

    assert isinstance(step, ChangeEndpoint)
    assert {"insecure": True, "ca_certificate": ""} == step.fields
    assert after.is_empty


@pytest.mark.parametrize(
    ("version", "knows"),
    [
        ("v2.15.2-080b0220", True),
        ("v2.16.0", True),
        ("v3.0.0", True),
        ("v2.14.1-abc", False),
        ("dev", False),
    ],
)
async def test_what_is_gone_upstream_is_served_where_harbor_can(version, knows):
    """
    The key is set from 2.15 on, and an older Harbor never hears of it.
    """
    async with HarborStandIn() as harbor:
        harbor.version = version
        config = config_for(harbor.url)
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)
        metadata = harbor.state.project(QUAY).metadata

    assert after.is_empty
    assert knows == (metadata.get("proxy_cache_local_on_not_found") == "true")
    assert knows == ("proxy_cache_local_on_not_found" in metadata)


async def test_read_only_mode_is_said_for_what_it_is(tmp_path):
    """
    Plan goes on and says so; apply writes nothing.
    """
    async with empty_harbor() as harbor:
        harbor.state.configuration["read_only"] = True
        config = config_for(harbor.url, **everything(tmp_path))
        made = await plan_of(harbor, config)
        with pytest.raises(HarborError, match="Harbor is in read-only mode"):
            await apply_to(harbor, config)

        assert {} == {e.name: e for e in harbor.state.endpoints.values()}
    assert made.read_only
    assert any("read-only mode" in note for note in made.notes)
    assert 10 < len(made.writes)


async def test_an_upstream_that_hangs_is_named():
    """
    The 504 of what stands in front of Harbor is told as the upstream's silence.
    """
    async with empty_harbor(front_timeout=0.1) as harbor:
        harbor.upstreams["https://quay.io"] = SimulatedUpstream(state=UpstreamState.HUNG)
        with pytest.raises(HarborError) as error:
            await apply_to(harbor, config_for(harbor.url))

    assert "endpoint quay.io: the upstream https://quay.io takes connections and never" in str(
        error.value
    )


async def test_a_robot_account_provisions():
    """
    It is answered 403 for a project that is not there yet, and may not read quotas: plan goes on.
    """
    system = [
        {"resource": resource, "action": action}
        for resource, action in (
            ("registry", "create"),
            ("registry", "read"),
            ("registry", "list"),
            ("registry", "update"),
            ("replication-adapter", "list"),
            ("project", "create"),
        )
    ]
    project = [{"resource": "project", "action": action} for action in ("read", "update")]
    permissions = [
        {"kind": "system", "namespace": "/", "access": system},
        {"kind": "project", "namespace": "*", "access": project},
    ]
    async with empty_harbor() as harbor:
        harbor.state.robots[1] = Robot(1, "robot$maker", "system", "Secr3t-a", -1, permissions)
        config = config_for(harbor.url, **PLAIN)
        credentials = Credentials("robot$maker", "Secr3t-a")
        desired = read_desired(config)
        async with HarborClient(harbor.url, credentials=credentials, timeout=5.0) as client:
            api = Api(client, locked_for=0.0)
            made = await plan_for(api, desired)
            done = [step async for step in apply(api, desired, made)]
            after = await plan_for(api, desired)

    assert {Kind.ENDPOINT, Kind.PROJECT} == {step.kind for step in done}
    assert harbor.state.project(QUAY) is not None
    assert after.is_empty
    assert {"this account may not read it, so it is left as it is"} == {
        risk for step in after.steps for risk in step.risks
    }


async def test_the_workers_of_the_garbage_collection_stay():
    """
    Somebody gave it three workers, of which the config says nothing.
    """
    async with HarborStandIn() as harbor:
        config = config_for(harbor.url)
        await apply_to(harbor, config)
        async with client_of(harbor) as client:
            body = {
                "schedule": {"type": "Custom", "cron": "0 0 5 * * *"},
                "parameters": {"delete_untagged": True, "workers": 3},
            }
            await client.call("PUT", "/api/v2.0/system/gc/schedule", body=body)
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)
        schedule = harbor.state.gc_schedule

    assert after.is_empty
    assert '{"delete_tag":false,"delete_untagged":false,"workers":3}' == schedule["job_parameters"]
    assert "0 0 3 * * *" == schedule["schedule"]["cron"]


async def test_values_of_the_login_are_shown_as_they_are(tmp_path):
    """
    False is a value and not "unset".
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        harbor.state.configuration["oidc_verify_cert"] = False
        made = await plan_of(harbor, config)

    assert ("oidc_verify_cert: False → True",) == step_of(made, Kind.OIDC, "dex").details


@pytest.mark.parametrize(
    ("name", "level", "action", "pointed_out"),
    [
        ("robot$proxy.quay.io+scanner-8ec3", "project", "push", True),
        ("robot$scanner-mine", "system", "push", True),
        ("robot$scanner-mine", "system", "*", True),
        ("robot$proxy.quay.io+scanner-8ec3", "project", "pull", False),
        ("robot$proxy.quay.io+ci", "project", "push", False),
        ("robot$my-scanner-ci", "system", "push", False),
    ],
)
async def test_robots_that_could_write_into_a_proxy_cache(name, level, action, pointed_out):
    """
    An account named like Harbor's own scanners that may push is pointed out, and left alone.
    """
    async with HarborStandIn() as harbor:
        project = harbor.state.project(QUAY)
        access = [{"resource": "repository", "action": action}]
        permissions = [{"kind": "project", "namespace": QUAY, "access": access}]
        robot = Robot(1, name, level, "Secr3t-a", -1, permissions)
        robot.project_id = project.id if level == "project" else 0
        harbor.state.robots[1] = robot
        made = await plan_of(harbor, config_for(harbor.url))

    assert pointed_out == any(f"robot account {name} is named like" in n for n in made.notes)
    assert [] == writes_of(harbor)


@pytest.mark.parametrize(
    "url", ["quay.io", "quay.io:5000", "ftp://quay.io", "//quay.io", "https://"]
)
def test_an_upstream_url_without_a_scheme_is_refused(url):
    """
    Harbor would put http:// in front, and plan would refuse what came of it ever after.
    """
    registries = [{"host": "quay.io", "project": "q", "upstream": {"url": url}}]
    with pytest.raises(
        ConfigError, match=r"upstream\.url: .* must begin with https:// or http://"
    ):
        config_for("https://harbor.example.com", registries=registries)


async def test_plan_of_a_hundred_and_twenty_projects():
    """
    Some projects are read at once, never more than eight requests; it takes no minute.
    """
    registries = [
        {"host": f"r{number}.example", "project": f"proxy.r{number}"} for number in range(120)
    ]
    async with HarborStandIn() as harbor:
        for registry in registries:
            host = registry["host"]
            endpoint = harbor.state.add_endpoint(host, f"https://{host}")
            harbor.state.add_project(registry["project"], endpoint)
        harbor.answer_delay = 0.1
        started = time.perf_counter()
        made = await plan_of(harbor, config_for(harbor.url, registries=registries))
        seconds = time.perf_counter() - started

    print(
        f"plan of 120 projects, 100 ms per answer: {seconds:.1f} s,"
        f" {len(harbor.requests)} requests, {harbor.most_in_flight} at once"
    )
    assert 120 == sum(step.kind is Kind.QUOTA for step in made.steps)
    assert 8 == harbor.most_in_flight
    # One by one they would take half a minute.
    assert seconds < len(harbor.requests) * harbor.answer_delay / 2


def test_a_step_shows_no_secret(tmp_path):
    """
    The representation of steps, as it gets into a traceback, holds no password.
    """
    config = parse_config(
        '{"apiVersion": "harbor-cache.io/v1", "kind": "Config", "harbor": {"url": "https://h.io"},'
        ' "provisioning": {"robot": {"usernameFile": "u", "passwordFile": "p"}}}',
        {},
    )
    robot = read_desired(config).robot
    change = ChangeEndpoint(name="e", number=1, fields={"access_secret": "S3cret"})
    shown = repr([change, ChangeRobot(name="r", robot=robot, number=1, account="a", update=True)])

    assert "S3cret" not in shown
