"""
Pods that somebody looks after who may take another image for a mistake.
"""

import pytest

from webhook.config import default_config
from webhook.survey.formats.advice import next_steps
from webhook.survey.owners import gitops_of, operator_of
from webhook.survey.tally import Tally


def owned(version, kind, controller=True):  # noqa: FBT002
    owner = {"apiVersion": version, "kind": kind, "name": "o", "controller": controller}
    return {"ownerReferences": [owner]}


@pytest.mark.parametrize(
    ("metadata", "operator"),
    [
        (owned("kafka.strimzi.io/v1beta2", "StrimziPodSet"), "StrimziPodSet.kafka.strimzi.io"),
        (
            owned("operators.coreos.com/v1alpha1", "CatalogSource"),
            "CatalogSource.operators.coreos.com",
        ),
        (owned("apps/v1", "ReplicaSet"), ""),
        (owned("batch/v1", "Job"), ""),
        (owned("v1", "ReplicationController"), ""),
        (owned("v1", "Node"), ""),
        (owned("kafka.strimzi.io/v1beta2", "StrimziPodSet", controller=False), ""),
        ({}, ""),
    ],
)
def test_an_operator_is_a_controller_of_another_group(metadata, operator):
    """Kubernetes' own controllers, and owners that don't control, are no operators."""

    assert operator == operator_of(metadata)


@pytest.mark.parametrize(
    ("metadata", "tool"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "Flux"),
        ({"labels": {"app": "x"}}, ""),
        (
            {**owned("apps/v1", "ReplicaSet"), "labels": {"helm.toolkit.fluxcd.io/name": "x"}},
            "",
        ),
    ],
)
def test_a_bare_pod_under_gitops_is_told(metadata, tool):
    """A Pod that nothing controls, and that a tool made, is that tool's."""

    assert tool == gitops_of(metadata)


def test_the_audit_points_at_both():
    """The advice names the operator with what to exclude, and the Pod that stands in Git."""
    tally = Tally(default_config().policy)
    spec = {"containers": [{"name": "a", "image": "nginx"}]}
    strimzi = owned("kafka.strimzi.io/v1beta2", "StrimziPodSet")
    tally.add_pod({"metadata": {"name": "k", "namespace": "n", **strimzi}, "spec": spec})
    tracked = {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}
    tally.add_pod({"metadata": {"name": "bare", "namespace": "n", **tracked}, "spec": spec})
    survey = tally.result(cluster="c", generated="now", unseen=[])
    steps = {step.title: step for step in next_steps(survey)}

    assert steps["Look at Pods that operators control"].snippet.endswith(
        "  - StrimziPodSet.kafka.strimzi.io"
    )
    assert steps["Look at Pods that stand in Git"].text.startswith("n/bare: ")
