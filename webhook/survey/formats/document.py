"""
A survey as JSON, in the form that `docs/audit-json.md` promises.
"""

import json

from typing import Any, Final

from webhook.survey import (
    ClusterImage,
    Counts,
    NamespaceReport,
    RegistryReport,
    Survey,
    WorkloadReport,
)


__all__ = ["VERSION", "as_document", "as_json"]

VERSION: Final = 1
"""
The version of the form; it is raised when a field goes away or changes its meaning.
"""


def as_json(survey: Survey) -> str:
    """
    Return *survey* as JSON, with a newline at the end.  Whatever is not ASCII is escaped.
    """
    return json.dumps(as_document(survey), indent=2) + "\n"


def as_document(survey: Survey) -> dict[str, Any]:
    """
    Return *survey* as plain data.
    """
    return {
        "version": VERSION,
        "generated": survey.generated,
        "cluster": survey.cluster,
        "clusterName": survey.name,
        "harbor": survey.harbor,
        "mode": survey.mode,
        "paused": survey.paused,
        "installed": survey.installed,
        "configFrom": survey.source,
        "placeholder": survey.placeholder,
        "complete": not survey.unseen,
        "summary": {
            "namespaces": len(survey.namespaces),
            "workloads": len(survey.workloads),
            "pods": _counts(survey.pods),
            "images": survey.images,
            "uses": survey.uses,
            "wouldRewrite": survey.would_rewrite,
            "kept": survey.uses - survey.would_rewrite,
            "onHarbor": survey.on_harbor,
            "couldBe": survey.could_be,
            "reasons": survey.reasons,
            "rateLimitedPulls": survey.rate_limited_pulls,
        },
        "registries": [_registry(registry) for registry in survey.registries],
        "namespaces": [_namespace(namespace) for namespace in survey.namespaces],
        "workloads": [_workload(workload) for workload in survey.workloads],
        "unseen": [{"what": unseen.what, "why": unseen.why} for unseen in survey.unseen],
        "probe": survey.probes
        and [{"name": p.name, "state": p.state, "why": p.why} for p in survey.probes],
        "preflight": survey.preflight
        and [
            {
                "namespace": result.namespace,
                "image": result.image,
                "outcome": result.outcome,
                "policy": result.policy,
                "message": result.message,
            }
            for result in survey.preflight
        ],
        "nodes": survey.nodes
        and [{"node": n.node, "pullsAtOnce": n.at_once} for n in survey.nodes],
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {
        "total": counts.total,
        "cached": counts.cached,
        "direct": counts.direct,
        "restored": counts.restored,
    }


def _registry(registry: RegistryReport) -> dict[str, Any]:
    return {
        "registry": registry.registry,
        "project": registry.project,
        "rateLimited": registry.rate_limited,
        "images": registry.images,
        "workloads": registry.workloads,
        "pods": registry.pods,
        "uses": registry.uses,
        "wouldRewrite": registry.would_rewrite,
        "onHarbor": registry.on_harbor,
        "couldBe": registry.could_be,
        "pulls": registry.pulls,
        "pullsAtEveryStart": registry.every_start,
    }


def _namespace(namespace: NamespaceReport) -> dict[str, Any]:
    return {
        "name": namespace.name,
        "label": namespace.label,
        "mode": namespace.mode,
        "why": namespace.why,
        "pods": _counts(namespace.pods),
        "workloads": namespace.workloads,
        "wouldRewrite": namespace.would_rewrite,
        "kept": namespace.kept,
        "onHarbor": namespace.on_harbor,
        "couldBe": namespace.could_be,
        "podsWithPullSecrets": namespace.with_pull_secrets,
    }


def _workload(workload: WorkloadReport) -> dict[str, Any]:
    return {
        "namespace": workload.namespace,
        "kind": workload.kind,
        "name": workload.name,
        "pods": _counts(workload.pods),
        "pullSecrets": workload.pull_secrets,
        "operator": workload.operator,
        "gitops": workload.gitops,
        "images": [_image(image) for image in workload.images],
    }


def _image(image: ClusterImage) -> dict[str, Any]:
    return {
        "image": image.image,
        "registry": image.registry,
        "outcome": image.outcome,
        "reason": str(image.reason),
        "result": image.result,
        "containers": image.containers,
        "running": _counts(image.running),
        "everyStart": image.every_start,
        "digest": image.digest,
    }
