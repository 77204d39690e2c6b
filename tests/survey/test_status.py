"""
What is wrong with an installation, from what was seen of it.
"""

import re
import typing

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from webhook.survey.model import Unseen
from webhook.survey.status import Facts, Replica, Team, judge
from webhook.survey.status.facts import Name
from webhook.survey.status.show import as_text


NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
SINCE = "2026-05-01T02:48:00Z"
WELL = {"state": "available", "since": SINCE, "why": "", "cause": ""}
DEAD = {"state": "unavailable", "since": SINCE, "why": "refused", "cause": "refused"}
SUSPENDED = {**DEAD, "cause": "suspended"}


def status(harbor=WELL, project=WELL, **more):
    return {"harbor": harbor, "projects": {"proxy.quay.io": project}, "version": "1", **more}


def facts(*statuses, **changes):
    """
    Return an installation with one webhook replica per status; well but for what is changed.
    """
    replicas = [
        Replica("webhook", f"webhook-{number}", "image:1", "", each)
        for number, each in enumerate(statuses or (status(), status()))
    ]
    renewed = (NOW - timedelta(seconds=3)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    values = {
        "configuration": {"webhooks": []},
        "deployments": {"webhook": {"spec": {"replicas": len(replicas)}}, "controller": None},
        "replicas": replicas,
        "lease": {"spec": {"holderIdentity": "a_b", "renewTime": renewed}},
        **changes,
    }
    return Facts("https://api", NOW, "harbor-cache", "harbor-cache-webhook", **values)


def names(seen):
    return [problem.name for problem in judge(seen)]


def test_a_well_installation_has_no_problem():
    """Where all is as it should be, nothing is said to be wrong."""

    assert [] == names(facts())


def test_replicas_that_disagree_are_told_apart_from_a_dead_harbor():
    """Harbor is called unavailable where all say so; else those that say so are named."""
    all_dead = judge(facts(status(DEAD), status(DEAD)))
    one_dead = judge(facts(status(), status(DEAD)))

    assert ["harbor-unavailable"] == [problem.name for problem in all_dead]
    assert ["replicas-disagree"] == [problem.name for problem in one_dead]
    assert "to webhook-1, and not to others" in one_dead[0].text


def test_a_dead_harbor_hides_its_projects():
    """What follows from a dead Harbor is not told again for each project."""

    assert ["harbor-unavailable"] == names(facts(status(DEAD, DEAD), status(DEAD, DEAD)))


def test_a_project_that_cannot_serve_is_named():
    """A project is unavailable to all, or to some; a suspended one is told by the quarantine."""

    assert ["project-unavailable"] == names(facts(status(WELL, DEAD)))
    assert ["replicas-disagree"] == names(facts(status(WELL, DEAD), status()))
    assert [] == names(facts(status(WELL, SUSPENDED)))


def test_a_refused_robot_account_is_named_once():
    """However many replicas say so, and beside the private projects that follow from it."""

    assert ["account-refused"] == names(facts(status(account=DEAD), status(account=DEAD)))
    assert [] == names(facts(status(account=WELL)))
    assert ["account-refused", "project-unavailable"] == names(
        facts(status(WELL, DEAD, account=DEAD))
    )


@pytest.mark.parametrize("file", ["config", "quarantine", "certificate"])
def test_a_refused_file_is_named_with_its_replica(file):
    """What a replica refuses now is told, and why."""
    (problem,) = judge(facts(status(), status(refused={file: "line 1: no valid YAML\nmore"})))

    assert f"{file}-refused" == problem.name
    assert f"webhook-1 refuses its {file}: line 1: no valid YAML." in problem.text


def test_a_controller_that_cannot_renew_is_told_in_its_own_words():
    """What keeps the active controller from its certificates stands there; others are silent."""
    replicas = [
        Replica("controller", "c-0", "i", "", status(leading=True, certificates="no right to")),
        Replica("controller", "c-1", "i", "", status(leading=False, certificates="whatever")),
    ]
    (problem,) = judge(
        facts(replicas=replicas, deployments={"webhook": {"spec": {"replicas": 0}}})
    )

    assert "certificates-failing" == problem.name
    assert "c-0 can't look after the certificates: no right to." == problem.text


def test_a_fence_from_other_rules_is_told():
    """The fence's fingerprint of the rules has to be the config's own."""
    policies = {
        name: {"metadata": {"annotations": {"harbor-cache.io/rules": "a"}}}
        for name in ("pods", "webhook-configuration")
    }
    rules = SimpleNamespace(fingerprint="a")
    config = SimpleNamespace(rules=rules, paused=False, mode="enforce")
    controller = {"webhook": None, "controller": {"spec": {"replicas": 0}}}
    seen = facts(policies=policies, config=config, deployments=controller)

    assert ["webhook-gone"] == names(seen)
    rules.fingerprint = "b"

    assert ["webhook-gone", "fence-differs"] == names(seen)


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ({"holderIdentity": "a", "renewTime": "2026-05-01T02:59:50Z"}, []),
        ({"holderIdentity": "", "renewTime": "2026-05-01T02:59:50Z"}, ["lease-without-holder"]),
        ({"holderIdentity": "a", "renewTime": "2026-05-01T02:00:00Z"}, ["lease-without-holder"]),
        ({"holderIdentity": "a", "renewTime": "nonsense"}, ["lease-without-holder"]),
        ({}, ["lease-without-holder"]),
    ],
)
def test_a_lease_that_nobody_renews_has_no_holder(spec, problems):
    """A holder that went away without a word is none, whatever name stands there."""
    seen = facts(lease={"spec": spec})
    seen.deployments["controller"] = {"spec": {"replicas": 0}}
    seen.policies = None

    assert problems == names(seen)


def test_labels_that_mean_nothing_are_named():
    """A mistyped value, a mistyped key, and a namespace that is left out in spite of its label."""
    teams = [
        Team("a", "enforced"),
        Team("b", None, ["harbor-cache.io/modes"]),
        Team("c", "enforce", excluded=True),
        Team("d", "audit"),
    ]

    assert ["label-mistyped", "label-mistyped", "namespace-excluded"] == names(facts(teams=teams))


def test_what_was_not_seen_is_neither_well_nor_a_problem():
    """Where a part may not be read, nothing is said to be gone, and nothing to be well."""
    unseen = [Unseen("the webhook configuration", "forbidden"), Unseen("the Lease", "forbidden")]
    seen = facts(configuration=None, lease=None, unseen=unseen)
    seen.deployments["controller"] = {"spec": {"replicas": 0}}

    assert [] == judge(seen)
    assert as_text(seen, []).startswith("UNKNOWN: ")


def test_nothing_acts_on_the_terminal():
    """What comes from the cluster is written out, escapes included."""
    seen = facts(teams=[Team("a", "\x1b[31m")])

    assert "\x1b" not in as_text(seen, judge(seen))


def test_every_problem_is_documented():
    """The page about the JSON has a row for every name of a problem, and no other."""
    page = (Path(__file__).parents[2] / "docs/status-json.md").read_text()
    described = set(re.findall(r"^\| `([a-z]+(?:-[a-z]+)+)` \|", page, re.MULTILINE))

    assert set(typing.get_args(Name)) == described
