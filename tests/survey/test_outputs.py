"""
A survey as table, JSON, CSV and HTML, without a cluster.
"""

import csv
import io
import json

import pytest

from tests.support.fleet import HOSTILE, surveyed
from webhook.image.decision import Reason
from webhook.survey import (
    ClusterImage,
    NamespaceReport,
    NodePulls,
    PreflightResult,
    Survey,
    Unseen,
    WorkloadReport,
)
from webhook.survey.formats.advice import is_public, next_steps
from webhook.survey.formats.document import as_json
from webhook.survey.formats.page import as_html
from webhook.survey.formats.sheet import as_csv
from webhook.survey.formats.table import as_table


OUTPUTS = {"json": as_json, "csv": as_csv, "html": as_html, "table": as_table}


@pytest.fixture(name="both")
async def _both():
    return await surveyed(namespaces=5, pods=200)


def test_numbers_are_those_that_were_made(both):
    """What is summed up agrees with what was counted while the Pods were made."""
    fleet, survey = both
    summary = json.loads(as_json(survey))["summary"]

    assert fleet.uses == summary["uses"]
    assert fleet.would_rewrite == summary["wouldRewrite"]
    assert (fleet.cached, fleet.restored) == (
        summary["pods"]["cached"],
        summary["pods"]["restored"],
    )
    assert fleet.with_secrets == sum(n.with_pull_secrets for n in survey.namespaces)


@pytest.mark.parametrize("form", OUTPUTS)
def test_hostile_images_do_no_harm(both, form):
    """Control characters and markup come out as text, in every output."""
    text = OUTPUTS[form](both[1])

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "<script>alert" not in text or form != "html"


def test_no_cell_is_a_formula(both):
    """A spreadsheet finds text in every cell of the CSV."""
    cells = [cell for row in csv.reader(io.StringIO(as_csv(both[1]))) for cell in row]

    assert f"'{HOSTILE[2]}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "|", "%"))]


def test_owners_stand_for_what_they_own(both):
    """Pods count for the Deployment behind their ReplicaSet, and a Job for its CronJob."""
    kinds = {workload.kind for workload in both[1].workloads}

    assert {"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Pod"} == kinds
    assert any(w.kind == "Deployment" and w.pods.total for w in both[1].workloads)


def test_what_to_do_next_is_ready_to_paste(both):
    """Uncovered public registries come as config; private ones and unseen lists are told apart."""
    survey = both[1]
    survey.unseen = [Unseen("pods", "no")]
    survey.preflight = [PreflightResult("team-01", "h/x", "refused", 'webhook "w"', "no")]
    steps = {step.title: step for step in next_steps(survey)}

    assert "Look at the rest" == next(iter(steps))
    head, *lines = steps["Cover more registries"].snippet.splitlines()

    assert "registries:" == head
    assert [
        "  # ... those that are there already, and:",
        "  - {host: ghcr.io, project: proxy.ghcr.io}",
        "  - {host: registry.k8s.io, project: proxy.registry.k8s.io}",
    ] == sorted(lines)
    assert 'webhook "w" would refuse rewritten Pods in team-01' in (
        steps["Allow the Harbor host in policies"].text
    )


@pytest.mark.parametrize(
    ("registry", "public"),
    [
        ("ghcr.io", True),
        ("registry.k8s.io", True),
        ("localhost", False),
        ("10.0.0.1", False),
        ("[::1]", False),
        ("registry.corp.local", False),
        ("registry.example.com:5000", False),
        ("1234.dkr.ecr.eu-central-1.amazonaws.com", False),
        ("harbor.example.com", False),
    ],
)
def test_which_registries_are_worth_a_rule(registry, public):
    """Local and credential-bound registries are not suggested for caching."""

    assert public is is_public(registry, "harbor.example.com")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠"])  # noqa: RUF001
def test_no_reader_finds_a_formula(sign, delimiter):
    """A cell is no formula, whatever stands between cells for who reads them, full-width or not."""
    hostile = [f"{sign}1+cmd", f"x;{sign}1+cmd", f"x,{sign}1", f"x\t{sign}1", f"x; {sign}1"]
    images = [ClusterImage(i, "r", "kept", Reason.NO_RULE, i) for i in hostile]
    workload = WorkloadReport("team", "Deployment", "web", images=images)
    survey = Survey("c", "now", "h", "enforce", paused=False, installed=None, workloads=[workload])
    rows = csv.reader(io.StringIO(as_csv(survey)), delimiter=delimiter)
    cells = [cell.strip() for row in rows for cell in row]

    assert [] == [cell for cell in cells if cell.startswith(sign)]


def test_nothing_is_folded_in_a_pipe():
    """Where there is no terminal, a workload is one line, however long its image."""
    image = "registry.example.com/" + "a" * 200
    workload = WorkloadReport(
        "team", "Pod", "web", images=[ClusterImage(image, "r", "kept", Reason.NO_RULE, image)]
    )
    survey = Survey("c", "now", "h", "enforce", paused=False, installed=None, workloads=[workload])
    lines = as_table(survey).splitlines()

    assert 1 == sum(image in line and "pod/web" in line for line in lines)


def test_who_is_excluded_gets_no_advice():
    """A namespace that the webhook configuration leaves out is not proposed for a trial."""
    namespaces = [
        NamespaceReport("kube-system", why="left out", would_rewrite=9),
        NamespaceReport("team", would_rewrite=1),
    ]
    survey = Survey(
        "c", "now", "h", "enforce", paused=False, installed=True, namespaces=namespaces
    )
    steps = {step.title: step for step in next_steps(survey)}

    assert "namespace team harbor-cache.io/mode=audit" in (
        steps["Try one namespace in audit mode"].snippet
    )
    assert "1 namespace " in steps["Try one namespace in audit mode"].text


def test_nodes_that_pull_one_at_a_time_are_named():
    """The advice names the nodes on which one hung pull stops all, and the setting to change."""
    nodes = [NodePulls("slow", 1), NodePulls("quick", 5), NodePulls("free", None)]
    survey = Survey("c", "now", "h", "enforce", paused=False, installed=True, nodes=nodes)
    (step,) = next_steps(survey)

    assert step.text.startswith("slow pulls one image at a time")
    assert "serializeImagePulls: false" in step.snippet
