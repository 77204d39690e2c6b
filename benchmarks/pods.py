"""
The Pods that the benchmarks create.
"""

import json

from typing import Any, Final


__all__ = ["PODS", "pod_of", "review_of"]

_DIGEST: Final = "sha256:" + "0123456789abcdef" * 4


def _container(name: str, image: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **more}


def _service(name: str, image: str) -> dict[str, Any]:
    """
    Return a container as a chart writes one: ports, probes, limits, environment, mounts.
    """
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}
    return _container(
        name,
        image,
        ports=[{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        env=[
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LOG_LEVEL", "value": "info"},
        ],
        livenessProbe=probe,
        readinessProbe=probe,
        resources={"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        securityContext={
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        volumeMounts=[{"name": "config", "mountPath": "/etc/config", "readOnly": True}],
    )


def pod_of(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """
    Return a Pod for *spec*; the API server completes its name.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "bench-", **metadata},
        "spec": spec,
    }


def _typical() -> dict[str, Any]:
    return pod_of(
        {
            "initContainers": [_container("migrate", "quay.io/acme/migrate:v4.17.0")],
            "containers": [
                _service("shop", f"docker.io/acme/shop:1.42.0@{_DIGEST}"),
                _service("proxy", "nginx:1.29"),
            ],
            "volumes": [{"name": "config", "configMap": {"name": "shop"}}],
            "serviceAccountName": "default",
            "securityContext": {"runAsNonRoot": True, "fsGroup": 1000},
        },
        labels={"app.kubernetes.io/name": "shop", "app.kubernetes.io/version": "1.42.0"},
        annotations={"checksum/config": _DIGEST, "prometheus.io/scrape": "true"},
    )


def _of_containers(count: int, **more: Any) -> dict[str, Any]:
    images = ("nginx:1.29", "quay.io/acme/app:1", "gcr.io/acme/app:1", "ghcr.io/acme/app:1")
    containers = [_container(f"c{n}", images[n % 4], **more) for n in range(count)]
    return pod_of({"containers": containers})


PODS: Final = {
    "small": pod_of({"containers": [_container("web", "nginx:1.29")]}),
    "typical": _typical(),
    "200 containers": _of_containers(200),
    "1 MB": _of_containers(20, env=[{"name": "TEXT", "value": "x" * 49_000}]),
}
"""
What is sent, by its name in the tables.
"""


def review_of(pod: dict[str, Any]) -> bytes:
    """
    Return a review of *pod*, where there is no API server to send one.
    """
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "benchmark",
        "object": pod,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()
