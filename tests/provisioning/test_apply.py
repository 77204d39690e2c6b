"""
Plan and apply against the stand-in.
"""

import base64
import stat

import pytest
import yaml

from tests.support.provisioning import (
    CLIENT_SECRET,
    SECRET,
    apply_to,
    client_of,
    config_for,
    empty_harbor,
    end_state,
    everything,
    plan_of,
    writes_of,
)
from webhook.demo.standin import HarborStandIn, SimulatedUpstream, UpstreamState
from webhook.errors import ConfigError, HarborError
from webhook.harbor.client import HarborClient
from webhook.provisioning.robot_files import new_secret
from webhook.provisioning.steps import Action, Kind


PLAIN = {"provisioning": {"retention": None, "garbageCollection": None}}


async def test_the_articles_own_tables_need_no_change():
    """
    Four registries and four public projects are left as they are, but for one newer key.
    """
    async with HarborStandIn() as harbor:
        made = await plan_of(harbor, config_for(harbor.url))
        tables = [s for s in made.steps if s.kind in (Kind.ENDPOINT, Kind.QUOTA)]
        projects = [s for s in made.steps if s.kind is Kind.PROJECT]

    assert 8 == len(tables)
    assert {Action.KEEP} == {step.action for step in tables}
    assert [{"proxy_cache_local_on_not_found": "true"}] * 4 == [p.metadata for p in projects]
    assert {Kind.PROJECT, Kind.RETENTION, Kind.GARBAGE_COLLECTION} == {
        step.kind for step in made.writes
    }
    assert [] == writes_of(harbor)


async def test_from_nothing_to_no_difference(tmp_path):
    """
    After plan and apply the plan is empty, and a second apply makes no write.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        before = await plan_of(harbor, config)
        assert [] == writes_of(harbor)
        done = await apply_to(harbor, config)
        written = len(writes_of(harbor))
        after = await plan_of(harbor, config)
        again = await apply_to(harbor, config)

    print(f"{len(done)} steps, {written} writes")
    assert {Action.CREATE, Action.CHANGE} >= {step.action for step in before.writes}
    assert list(before.writes) == done
    assert after.is_empty
    assert [] == again
    assert written == len(writes_of(harbor))


async def test_what_apply_makes(tmp_path):
    """
    Types, URLs, publicity, limits, quota, retention, robot, login and schedule are as wanted.
    """
    async with empty_harbor() as harbor:
        await apply_to(harbor, config_for(harbor.url, **everything(tmp_path)))
        endpoints, projects, robots, configuration, secret, schedule = end_state(harbor)

    assert ("docker-hub", "https://hub.docker.com", False, "", "", "") == endpoints["docker_hub"]
    assert ("docker-registry", "https://private.example", True, "account", SECRET, "") == (
        endpoints["private.example"]
    )
    registry, quota, metadata, rules = projects["proxy.private"]
    assert ("private.example", 100 << 30) == (registry, quota)
    assert {
        "public": "false",
        "max_upstream_conn": "20",
        "proxy_speed_kb": "5000",
        "proxy_cache_local_on_not_found": "true",
    } == metadata
    assert {"nDaysSinceLastPull": 30} == rules[0]["params"]
    assert "true" == projects["proxy.quay.io"][2]["public"]
    level, permissions, _ = robots["robot$pull"]
    assert "system" == level
    assert {"proxy.docker.io", "proxy.quay.io", "proxy.private"} == {
        permission["namespace"] for permission in permissions
    }
    assert ("oidc_auth", "openid,profile,email,groups", "cluster_admins", True, False) == (
        configuration["auth_mode"],
        configuration["oidc_scope"],
        configuration["oidc_admin_group"],
        configuration["oidc_verify_cert"],
        configuration["oidc_auto_onboard"],
    )
    assert CLIENT_SECRET == secret
    assert "0 0 3 * * *" == schedule["schedule"]["cron"]


async def test_the_robots_secret_goes_to_its_files_alone(tmp_path):
    """
    The files are for their owner alone, hold what works, and are not written again.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        name, secret = tmp_path / "robot-name", tmp_path / "robot-secret"
        first = secret.read_text("utf-8")
        await apply_to(harbor, config)

    assert "robot$pull\n" == name.read_text("utf-8")
    assert harbor.state.robots[1].secret == first.strip()
    assert [0o600, 0o600] == [stat.S_IMODE(f.stat().st_mode) for f in (name, secret)]
    assert first == secret.read_text("utf-8")


async def test_the_robots_secret_as_a_manifest(tmp_path):
    """
    The Secret's manifest can be mounted, and used as a pull secret for Harbor's host.
    """
    manifest = tmp_path / "robot.yaml"
    robot = {"manifestFile": str(manifest), "secretNamespace": "harbor-cache"}
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, provisioning={"robot": robot})
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)
        host = harbor.url.removeprefix("http://")

    data = yaml.safe_load(manifest.read_text("utf-8"))
    login = yaml.safe_load(base64.b64decode(data["data"][".dockerconfigjson"]))
    assert ("Secret", "kubernetes.io/dockerconfigjson") == (data["kind"], data["type"])
    assert {"name": "harbor-cache-robot", "namespace": "harbor-cache"} == data["metadata"]
    assert harbor.state.robots[1].secret == login["auths"][host]["password"]
    assert 0o600 == stat.S_IMODE(manifest.stat().st_mode)
    assert after.is_empty


@pytest.mark.parametrize("damage", ["lost", "wrong", "disabled", "grown"])
async def test_a_robot_that_drifted_is_mended(tmp_path, damage):
    """
    A lost or wrong secret is renewed; an account that may do more is cut back.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        robot = harbor.state.robots[1]
        match damage:
            case "lost":
                (tmp_path / "robot-secret").unlink()
            case "wrong":
                robot.secret = new_secret()
            case "disabled":
                robot.disable = True
            case "grown":
                push = {"resource": "repository", "action": "push"}
                first = robot.permissions[0]
                robot.permissions = [
                    {**first, "access": [*first["access"], push]},
                    *robot.permissions[1:],
                ]
        during = await plan_of(harbor, config)
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)

    assert {Kind.ROBOT} == {step.kind for step in during.writes}
    assert after.is_empty
    assert robot.secret == (tmp_path / "robot-secret").read_text("utf-8").strip()


async def test_a_secret_that_could_not_be_written_is_never_made(tmp_path):
    """
    Where the file's directory is missing apply stops before its first call that writes.
    """
    sections = everything(tmp_path)
    sections["provisioning"]["robot"]["passwordFile"] = str(tmp_path / "none" / "secret")
    async with empty_harbor() as harbor:
        with pytest.raises(ConfigError, match="No such file"):
            await apply_to(harbor, config_for(harbor.url, **sections))

        assert [] == writes_of(harbor)


async def test_drift_that_is_mended(tmp_path):
    """
    A deleted project, one made private, a changed quota, policy or schedule are found and mended.
    """
    async with HarborStandIn() as harbor:
        config = config_for(harbor.url)
        await apply_to(harbor, config)
        wanted = end_state(harbor)
        state = harbor.state
        del state.projects[state.project("proxy.gcr.io").id]
        state.project("proxy.quay.io").metadata["public"] = "false"
        state.project("proxy.docker.io").storage = 1 << 30
        policy = int(state.project("proxy.k8s.gcr.io").metadata["retention_id"])
        state.retentions[policy]["rules"][0]["params"] = {"nDaysSinceLastPull": 7}
        state.gc_schedule["schedule"]["cron"] = "0 0 0 * * 0"
        state.endpoint("quay.io").insecure = True
        found = await plan_of(harbor, config)
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)

    assert {
        (Kind.ENDPOINT, "quay.io"),
        (Kind.PROJECT, "proxy.gcr.io"),
        (Kind.PROJECT, "proxy.quay.io"),
        (Kind.QUOTA, "proxy.docker.io"),
        (Kind.RETENTION, "proxy.gcr.io"),
        (Kind.RETENTION, "proxy.k8s.gcr.io"),
        (Kind.GARBAGE_COLLECTION, "schedule"),
    } == {(step.kind, step.name) for step in found.writes}
    assert after.is_empty
    assert wanted == end_state(harbor)


def point_elsewhere(state):
    state.project("proxy.quay.io").registry_id = state.endpoint("gcr.io").id


def make_ordinary(state):
    state.project("proxy.quay.io").registry_id = None


def move_registry(state):
    state.endpoint("quay.io").url = "https://quay.example"


def other_type(state):
    state.endpoint("quay.io").type = "harbor"


def other_name(state):
    state.endpoint("quay.io").name = "quay"


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (point_elsewhere, Kind.PROJECT, "proxy of gcr.io instead of quay.io"),
        (make_ordinary, Kind.PROJECT, "no proxy project"),
        (move_registry, Kind.ENDPOINT, "for https://quay.example instead of https://quay.io"),
        (other_type, Kind.ENDPOINT, "type harbor instead of docker-registry"),
        (other_name, Kind.PROJECT, "set upstream.name to quay"),
    ],
)
async def test_what_has_another_meaning_is_refused_with_a_remedy(damage, kind, words):
    """
    Names that mean something else are named with what to do, and not overwritten.
    """
    async with HarborStandIn() as harbor:
        damage(harbor.state)
        made = await plan_of(harbor, config_for(harbor.url, **PLAIN))

    (refused,) = made.refused
    assert kind is refused.kind
    assert words in refused.details[0]
    assert "; " in refused.details[0]


async def test_an_unknown_type_is_refused_before_harbor_breaks_on_it():
    """
    Harbor answers an unknown type with 500; the plan names the types that it knows.
    """
    registries = [
        {"host": "quay.io", "project": "proxy.quay.io", "upstream": {"name": "q", "type": "quay"}}
    ]
    async with HarborStandIn() as harbor:
        made = await plan_of(harbor, config_for(harbor.url, registries=registries, **PLAIN))

    assert "no type 'quay'" in made.refused[0].details[0]
    assert "docker-registry" in made.refused[0].details[0]


async def test_users_that_exist_keep_the_auth_mode(tmp_path):
    """
    Where users exist the auth mode can't be changed: an error with its remedy.
    """
    async with empty_harbor() as harbor:
        harbor.state.users["jane"] = "Password1"
        made = await plan_of(harbor, config_for(harbor.url, **everything(tmp_path)))

    (refused,) = made.refused
    assert Kind.OIDC is refused.kind
    assert "users exist; delete all users but admin" in refused.details[0]


async def test_an_issuer_that_is_not_there_yet_is_a_note_and_no_obstacle(tmp_path):
    """
    Dex may run in the cluster that waits for this Harbor: nothing depends on it.
    """
    async with empty_harbor() as harbor:
        harbor.issuers = set()
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        made = await plan_of(harbor, config)

    (noted,) = [step for step in made.steps if step.risks]
    assert made.is_empty
    assert "does not reach https://dex.example.com yet" in noted.risks[0]


async def test_a_public_project_with_credentials_is_named_as_a_risk(tmp_path):
    """
    `public: true` beside upstream credentials is done, and its consequence said.
    """
    sections = everything(tmp_path)
    sections["registries"][2]["public"] = True
    async with empty_harbor() as harbor:
        made = await plan_of(harbor, config_for(harbor.url, **sections))

    (risky,) = [step for step in made.steps if step.risks]
    assert "proxy.private" == risky.name
    assert "everyone all that the account account may read" in risky.risks[0]


async def test_a_private_project_that_nodes_can_not_pull_from_is_named(tmp_path):
    """
    Without a pull secret nobody but the robot account reads it: a note, and no obstacle.
    """
    sections = everything(tmp_path)
    del sections["pullSecrets"]
    async with empty_harbor() as harbor:
        made = await plan_of(harbor, config_for(harbor.url, **sections))

    (risky,) = [step for step in made.steps if step.risks]
    assert "proxy.private" == risky.name
    assert "private, and the config names no pullSecrets" in risky.risks[0]


async def test_secrets_are_sent_again_on_demand_and_never_as_the_mask(tmp_path):
    """
    A changed password is no difference, since Harbor never shows it; --resend-secrets sends it.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        (tmp_path / "password").write_text("An0ther-one", "utf-8")
        unseen = await plan_of(harbor, config)
        await apply_to(harbor, config, resend=True)
        sent = [str(seen.body) for seen in writes_of(harbor)]

    assert unseen.is_empty
    assert "An0ther-one" == harbor.state.endpoint("private.example").access_secret
    assert not any("*****" in body for body in sent)


async def test_other_things_in_harbor_stay(tmp_path):
    """
    Endpoints, projects and robots that the config does not name are not touched.
    """
    async with empty_harbor() as harbor:
        state = harbor.state
        state.add_project("theirs", state.add_endpoint("theirs", "http://theirs.example"))
        state.project("theirs").storage = 5
        before = end_state(harbor)
        await apply_to(harbor, config_for(harbor.url, **everything(tmp_path)))
        after = end_state(harbor)

    assert before[0]["theirs"] == after[0]["theirs"]
    assert before[1]["theirs"] == after[1]["theirs"]
    assert before[1]["library"] == after[1]["library"]
    assert not any("theirs" in seen.path for seen in writes_of(harbor))


async def test_lists_are_read_to_their_end():
    """
    The right endpoint is found behind a hundred others: Harbor pages its lists.
    """
    async with HarborStandIn() as harbor:
        state = harbor.state
        for number in range(120):
            state.add_endpoint(f"other-{number}", f"http://other-{number}.example")
        quay = state.endpoints.pop(state.endpoint("quay.io").id)
        state.endpoints[quay.id] = quay  # The last one of all.
        made = await plan_of(harbor, config_for(harbor.url, **PLAIN))

    assert {Kind.PROJECT} == {step.kind for step in made.writes}
    assert not made.refused


async def test_a_project_with_a_name_of_digits_is_no_number():
    """
    A project called 2 is not taken for the one with the number 2.
    """
    registries = [{"host": "quay.io", "project": "2"}]
    async with HarborStandIn() as harbor:
        config = config_for(harbor.url, registries=registries, **PLAIN)
        await apply_to(harbor, config)
        after = await plan_of(harbor, config)

    assert after.is_empty
    assert "quay.io" == end_state(harbor)[1]["2"][0]


class CrashError(Exception):
    pass


async def crash_after(monkeypatch, harbor, config, calls):
    """
    Apply, and die right after Harbor has done so many calls; tell whether it came to that.
    """
    real = HarborClient.call
    made = 0

    async def call(self, *arguments, **keywords):
        nonlocal made
        answer = await real(self, *arguments, **keywords)
        made += 1
        if made == calls:
            raise CrashError
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(HarborClient, "call", call)
        try:
            await apply_to(harbor, config)
        except CrashError:
            return True
    return False


async def test_a_crash_after_any_call_is_mended_by_the_next_apply(tmp_path, monkeypatch):
    """
    Wherever apply dies, a second apply ends in the same state as one that did not die.
    """
    async with empty_harbor() as whole:
        config = config_for(whole.url, **everything(tmp_path))
        await apply_to(whole, config)
        wanted = end_state(whole)
    positions = 0
    while True:
        positions += 1
        for name in ("robot-name", "robot-secret"):
            (tmp_path / name).unlink(missing_ok=True)
        async with empty_harbor() as harbor:
            config = config_for(harbor.url, **everything(tmp_path))
            crashed = await crash_after(monkeypatch, harbor, config, positions)
            await apply_to(harbor, config)
            after = await plan_of(harbor, config)
            reached = end_state(harbor)
            secret = harbor.state.robots[1].secret

        assert wanted == reached, f"after a crash at call {positions}"
        assert after.is_empty, f"after a crash at call {positions}"
        assert secret == (tmp_path / "robot-secret").read_text("utf-8").strip()
        if not crashed:
            break
    print(f"{positions - 1} positions tried")
    assert positions > 25


async def test_an_upstream_that_does_not_answer_is_named():
    """
    Harbor says "the registry is unhealthy" only; we say which, and what it may be.
    """
    async with empty_harbor() as harbor:
        harbor.upstreams["https://quay.io"] = SimulatedUpstream(state=UpstreamState.REFUSED)
        with pytest.raises(HarborError, match=r"endpoint quay\.io: Harbor can't use the upstream"):
            await apply_to(harbor, config_for(harbor.url))
        harbor.upstreams["https://quay.io"] = SimulatedUpstream()
        await apply_to(harbor, config_for(harbor.url))
        after = await plan_of(harbor, config_for(harbor.url))

    assert after.is_empty


async def test_no_cookie_is_kept():
    """
    Harbor sets a session cookie with every answer; a client that sent it back could not write.
    """
    async with HarborStandIn() as harbor, client_of(harbor) as client:
        first = await client.call("GET", "/api/v2.0/registries")
        second = await client.call("PUT", "/api/v2.0/registries/1", body={})

    assert "Set-Cookie" in first.headers
    assert 200 == second.status
