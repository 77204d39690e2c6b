"""
A survey as table, JSON, CSV and HTML, without a cluster.
"""

import csv
import io
import json
import re

import pytest

from tests.support.fleet import HOSTILE, surveyed
from webhook.image.decision import Reason
from webhook.survey import (
    ClusterImage,
    Counts,
    NamespaceReport,
    NodePulls,
    PreflightResult,
    RegistryReport,
    Survey,
    Unseen,
    WorkloadReport,
)
from webhook.survey.formats.advice import is_public, next_steps
from webhook.survey.formats.document import as_json
from webhook.survey.formats.page import as_html
from webhook.survey.formats.rows import rows
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


@pytest.mark.parametrize(
    ("on_harbor", "could_be", "headline"),
    [
        (0, 0, "Nothing in this cluster would come from Harbor"),
        (0, 3, "Nothing comes from Harbor now; 75\u202f% of image uses could"),
        (1, 3, "25\u202f% of image uses come from Harbor now; 75\u202f% could"),
        (3, 3, "75\u202f% of image uses come from Harbor: all that could"),
    ],
)
def test_the_headline_says_what_is_on_harbor_now_and_what_could_be(on_harbor, could_be, headline):
    """The first sentence of the page is the state of this cluster, whatever that is."""
    registry = RegistryReport("docker.io", "p", uses=4, on_harbor=on_harbor, could_be=could_be)
    survey = Survey(
        *("https://c", "2026-11-24T09:05:00Z", "h", "enforce"),
        paused=False,
        installed=False,
        registries=[registry],
        name="production",
    )
    page = as_html(survey)

    assert f"<h1>{headline}</h1>" in page
    assert "Audit of <strong>production</strong>" in page
    assert ">Tuesday, 24 November 2026, 09:05 UTC</time>" in page
    assert "not installed here" in page


def test_what_goes_past_harbor_is_said_with_its_share():
    """The tile of registries without a rule names them, their share, and how many a rule could cover."""
    hosts = ("ghcr.io", "registry.k8s.io", "registry.corp.local:5000", "mirror.lan", "docker.io")
    survey = Survey("c", "2026-11-24", "h", "enforce", paused=False, installed=True)
    survey.placeholder = "nothing <is> installed"
    survey.registries = [
        RegistryReport(host, "p" if host == "docker.io" else None, uses=1) for host in hosts
    ]
    page = as_html(survey)

    assert (
        "ghcr.io, registry.k8s.io, registry.corp.local:5000, 1 more: 80\u202f% of image uses go past "
        "Harbor; 2 of them public: a rule would cover them" in page
    )
    assert "h is a placeholder.</strong> nothing &lt;is&gt; installed." in page

    del survey.registries[:-1]

    assert "every registry in use has a rule" in as_html(survey)


async def test_what_is_on_harbor_and_what_could_be_add_up():
    """Registries and namespaces tell of the same uses, and nothing is on Harbor that could not be."""
    fleet, survey = await surveyed(namespaces=5, pods=200)
    places = (*survey.namespaces, *survey.registries)

    assert fleet.cached == survey.on_harbor == sum(n.on_harbor for n in survey.namespaces)
    assert survey.could_be == sum(n.could_be for n in survey.namespaces)
    assert [] == [place for place in places if not place.on_harbor <= place.could_be]


def test_alike_pods_are_one_row():
    """Fourteen Pods of a pipeline share a row; what has a lasting name has one of its own."""
    image = ("docker.io/library/golang:1.24", "docker.io", "would-rewrite", Reason.RULE, "h/p/x")

    def workload(kind, name, **more):
        images = [ClusterImage(*image, running=Counts(cached=1, direct=1))]
        return WorkloadReport("ci", kind, name, images=images, **more)

    survey = Survey("c", "now", "h", "enforce", paused=False, installed=None)
    survey.workloads = [
        *(workload("Pod", f"runner-x{n}-project-7-concurrent-{n}") for n in range(14)),
        *(workload("Job", f"migrate-{suffix}") for suffix in ("bcdfg", "x7k2p")),
        workload("Job", "migrate-zzzzz", pull_secrets=["mine"]),
        *(workload("Deployment", f"web-{n}") for n in range(2)),
        workload("Pod", "debug"),
    ]

    assert [
        ("runner…", 14, 28, 14),
        ("migrate…", 2, 4, 2),
        ("migrate-zzzzz", 1, 2, 1),
        ("web-0", 1, 2, 1),
        ("web-1", 1, 2, 1),
        ("debug", 1, 2, 1),
    ] == [(row.name, len(row.names), row.uses, row.on_harbor) for row in rows(survey)]


def test_lines_end_between_the_words_of_an_image_only():
    """An image may be folded behind a separator, but not at a hyphen or within a word."""
    workload = WorkloadReport(
        "team",
        "Pod",
        "web",
        images=[ClusterImage("quay.io/a-b/c:1", "r", "kept", Reason.NO_RULE, "")],
    )
    survey = Survey(
        "c", "2026-11-24", "h", "enforce", paused=False, installed=None, workloads=[workload]
    )

    assert 'quay.io/<wbr><span class="whole">a-b/</span><wbr>c:<wbr>1<' in as_html(survey)


def test_what_to_look_at_comes_first_and_in_words():
    """What needs a look is said in the first column, and stands above what needs none."""

    def workload(name, **more):
        images = [ClusterImage("nginx", "docker.io", "would-rewrite", Reason.RULE, "h/p/nginx")]
        return WorkloadReport("team", "Pod", name, images=images, **more)

    survey = Survey("c", "now", "h", "enforce", paused=False, installed=None)
    survey.workloads = [
        workload("calm"),
        workload("secretive", pull_secrets=["mine"]),
        workload("operated", operator="Cluster.example"),
        workload("declared", gitops="Flux"),
    ]
    survey.workloads[1].images[0].running.restored = 1
    survey.namespaces = [NamespaceReport("a"), NamespaceReport("b", label="on", mode="unknown")]
    lines = [re.split(r"\s{2,}", line) for line in as_table(survey).splitlines()]
    seen = [
        (line[0], name)
        for line in lines
        for name in ("a", "b", "pod/calm", "pod/secretive", "pod/operated", "pod/declared")
        if name in line
    ]

    assert [
        ("its label", "b"),
        ("", "a"),
        ("restored", "pod/secretive"),
        ("operator", "pod/operated"),
        ("in Git", "pod/declared"),
        ("", "pod/calm"),
    ] == seen


def test_colours_only_repeat_what_words_say(both, monkeypatch):
    """With NO_COLOR a terminal gets the same words and no colour; without, kinds of outcomes differ."""
    survey = both[1]
    colored = as_table(survey, 200, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = as_table(survey, 200, color=True)
    colors = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")

    assert colors.search(colored)
    assert not colors.search(plain)
    assert _without_style(plain) == _without_style(colored) == as_table(survey, 200)


def _without_style(text):
    return re.sub(r" +\n", "\n", re.sub(r"\x1b\[[0-9;]*m", "", text))


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
