"""
A robot account in trouble: plan, apply, verify, /status and the log say the same right thing.
"""

import ssl
import time

import pytest
import structlog

from tests.support.provisioning import apply_to, config_for, empty_harbor, plan_of
from webhook.harbor.account import read_account
from webhook.harbor.monitor import Monitor
from webhook.image.availability import State
from webhook.provisioning.steps import Kind
from webhook.provisioning.verify import verify


PUBLIC = ("proxy.docker.io", "proxy.quay.io")
PRIVATE = "proxy.private"
REFUSED = "is refused: its secret is wrong, or it is disabled or has expired"


def sections(tmp_path, pull_secrets=("harbor-pull",)):
    """
    Return a config with two public projects and a private one, which nodes have a secret for.
    """
    files = {
        "usernameFile": str(tmp_path / "robot-name"),
        "passwordFile": str(tmp_path / "robot-secret"),
    }
    private = {"host": "private.example", "project": PRIVATE, "public": False}
    return {
        "registries": [
            {"host": "docker.io", "project": PUBLIC[0]},
            {"host": "quay.io", "project": PUBLIC[1]},
            private | {"canary": "team/app:1"},
        ],
        "provisioning": {"robot": {"name": "pull", **files}},
        "pullSecrets": list(pull_secrets),
    }, files


class Look:
    """
    What each part says of one Harbor.
    """

    def __init__(self, harbor, config):
        self.harbor = harbor
        self.config = config
        self.monitor = Monitor(config)

    async def __call__(self):
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                await self.monitor.round()
        self.logs = [line for line in logs if line["event"] == "availability changed"]
        self.status = self.monitor.status().as_json()
        self.view = self.monitor.view()
        tls = ssl.create_default_context()
        self.verification = await verify(self.config, tls, read_account(self.config))
        self.proofs = {proof.project: proof for proof in self.verification.proofs}
        self.plan = await plan_of(self.harbor, self.config)


def provisioned(harbor, tmp_path, **options):
    sect, files = sections(tmp_path, **options)
    harbor_section = {"url": harbor.url, **files}
    return config_for(harbor.url, **sect, harbor=harbor_section)


def expire(robot):
    robot.duration, robot.expires_at = 30, int(time.time()) - 60


def disable(robot):
    robot.disable = True


def wrong(robot):
    robot.secret = "An0ther-secret"


@pytest.mark.parametrize(
    ("damage", "planned"),
    [(expire, "expires on"), (disable, "is disabled"), (wrong, "is wrong: a new one is set")],
)
async def test_an_account_that_is_refused_is_one_finding_of_its_own(tmp_path, damage, planned):
    """
    Public projects stay available; what is private says why; apply mends it.
    """
    async with empty_harbor() as harbor:
        config = provisioned(harbor, tmp_path)
        await apply_to(harbor, config)
        look = Look(harbor, config)
        await look()
        fine = look.view, look.verification.works, look.status["account"]["state"]
        damage(harbor.state.robots[1])
        await look()
        status, verification = look.status, look.verification
        logs, proofs, plan, view = look.logs, look.proofs, look.plan, look.view
        await apply_to(harbor, config)
        mended = Look(harbor, config)
        await mended()

    assert (State.AVAILABLE, True, "available") == (fine[0].project(PRIVATE), *fine[1:])
    assert {State.AVAILABLE} == {view.project(name) for name in PUBLIC}
    assert State.AVAILABLE is view.harbor
    assert ("unavailable", "unauthorized") == (
        status["account"]["state"],
        status["account"]["cause"],
    )
    assert REFUSED in status["account"]["why"]
    assert REFUSED in status["projects"][PRIVATE]["why"]
    assert [("robot", None), (None, PRIVATE)] == [
        (line.get("account"), line.get("project")) for line in logs
    ]
    assert all(REFUSED in line["why"] for line in logs)
    assert REFUSED in verification.refused
    assert REFUSED in proofs[PRIVATE].why
    assert all(proofs[name].works for name in PUBLIC)
    (step,) = [step for step in plan.writes if step.kind is Kind.ROBOT]
    assert planned in " ".join(step.details)
    assert State.AVAILABLE is mended.view.project(PRIVATE)
    assert mended.verification.works


@pytest.mark.parametrize("lost", ["project", "repository"])
async def test_an_account_that_lost_its_right(tmp_path, lost):
    """
    The account itself is fine; the project says that it has no right there.
    """
    async with empty_harbor() as harbor:
        config = provisioned(harbor, tmp_path)
        await apply_to(harbor, config)
        robot = harbor.state.robots[1]
        robot.permissions = [
            permission | {"access": [a for a in permission["access"] if a["resource"] != lost]}
            for permission in robot.permissions
        ]
        look = Look(harbor, config)
        await look()
        await apply_to(harbor, config)
        mended = Look(harbor, config)
        await mended()

    assert "available" == look.status["account"]["state"]
    assert {State.AVAILABLE} == {look.view.project(name) for name in PUBLIC}
    assert State.UNAVAILABLE is look.view.project(PRIVATE)
    assert "forbidden" == look.status["projects"][PRIVATE]["cause"]
    assert "has no right to" in look.status["projects"][PRIVATE]["why"]
    (step,) = [step for step in look.plan.writes if step.kind is Kind.ROBOT]
    assert "lacks rights" in step.details[0]
    if lost == "repository":
        assert "robot$pull may not pull from it" in look.proofs[PRIVATE].why
    assert State.AVAILABLE is mended.view.project(PRIVATE)
    assert mended.verification.works


async def test_a_project_made_private_under_a_robot_account(tmp_path):
    """
    The account still reads it; nodes without a pull secret are everyone, and get 401.
    """
    async with empty_harbor() as harbor:
        config = provisioned(harbor, tmp_path, pull_secrets=())
        with_secret = provisioned(harbor, tmp_path)
        await apply_to(harbor, config)
        harbor.state.project(PUBLIC[1]).metadata["public"] = "false"
        look, carried = Look(harbor, config), Look(harbor, with_secret)
        await look()
        await carried()
        await apply_to(harbor, config)
        mended = Look(harbor, config)
        await mended()

    assert State.UNAVAILABLE is look.view.project(PUBLIC[1])
    assert "private and nodes have no pull secret" in look.status["projects"][PUBLIC[1]]["why"]
    assert "private, and nodes have no pull secret" in look.proofs[PUBLIC[1]].why
    assert "available" == look.status["account"]["state"]
    assert State.AVAILABLE is look.view.project(PUBLIC[0])
    assert ("public: false → true",) == next(
        step.details for step in look.plan.writes if step.name == PUBLIC[1]
    )
    # Pods that carry the secret can pull from it, public or not.
    assert State.AVAILABLE is carried.view.project(PUBLIC[1])
    assert carried.proofs[PUBLIC[1]].works
    assert State.AVAILABLE is mended.view.project(PUBLIC[1])


async def test_a_wrong_login_that_is_held_up_disturbs_no_public_project(tmp_path):
    """
    Harbor holds each wrong login up for 1.5 s: public projects are looked at without one.
    """
    async with empty_harbor(login_delay=60.0) as harbor:
        config = provisioned(harbor, tmp_path)
        await apply_to(harbor, config)
        probe = config.probe.model_copy(update={"timeout": 1.0})
        harbor.state.robots[1].secret = "An0ther-secret"
        monitor = Monitor(config.model_copy(update={"probe": probe}))
        for _ in range(3):
            await monitor.round()

    view = monitor.view()
    assert {State.AVAILABLE} == {view.project(name) for name in PUBLIC}
    assert State.AVAILABLE is view.harbor
    assert State.UNAVAILABLE is view.project(PRIVATE)
    assert "unavailable" == monitor.status().as_json()["account"]["state"]


async def test_a_refused_account_is_not_hammered(tmp_path):
    """
    The refused login is tried again when another secret is there, or after the canary's interval.
    """
    async with empty_harbor() as harbor:
        config = provisioned(harbor, tmp_path)
        await apply_to(harbor, config)
        robot, secret = harbor.state.robots[1], harbor.state.robots[1].secret
        robot.secret = "An0ther-secret"
        monitor = Monitor(config)
        harbor.requests.clear()
        for _ in range(4):
            await monitor.round()
        tried = [seen for seen in harbor.requests if seen.path.endswith("/users/current")]
        (tmp_path / "robot-secret").write_text("An0ther-secret", "utf-8")
        await monitor.round()
        await monitor.round()

    assert secret != robot.secret
    assert 1 == len(tried)
    assert State.AVAILABLE is monitor.view().project(PRIVATE)


async def test_files_that_can_not_be_read_disturb_no_public_project(tmp_path):
    """
    A robot account whose files are missing is told of, and what is public goes on.
    """
    async with empty_harbor() as harbor:
        config = provisioned(harbor, tmp_path)
        await apply_to(harbor, config)
        (tmp_path / "robot-secret").unlink()
        monitor = Monitor(config)
        await monitor.round()
        await monitor.round()

    view, status = monitor.view(), monitor.status().as_json()
    assert {State.AVAILABLE} == {view.project(name) for name in PUBLIC}
    assert State.UNAVAILABLE is view.project(PRIVATE)
    assert "credentials" == status["account"]["cause"]
    assert "No such file" in status["projects"][PRIVATE]["why"]
