"""
Pods and what makes Pods, and what becomes of them.
"""

import asyncio
import time

from collections.abc import Callable
from typing import Any

from tests.support.kube.client import ApiClient


__all__ = [
    "PULL_FAILURES",
    "container_image",
    "container_statuses",
    "deployment",
    "every_kind",
    "is_running",
    "is_stuck",
    "pod",
    "pods",
    "wait_for_pods",
]

PULL_FAILURES = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"}


def pod(namespace: str, image: str, name: str = "web", **spec: Any) -> dict[str, Any]:
    """
    Return a Pod with one container; `spec` adds to its spec.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": _spec(image, **spec),
    }


def deployment(
    namespace: str, image: str, name: str = "web", *, replicas: int = 2, **spec: Any
) -> dict[str, Any]:
    """
    Return a Deployment of such Pods.
    """
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _spec(image, **spec)},
        },
    }


def _template(image: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": pod("x", image, **spec)["spec"]}


def every_kind(namespace: str, image: str, *, scheduled: bool = True) -> list[dict[str, Any]]:
    """
    Return what makes Pods of every kind: 11 Pods, or 10 without the one of a CronJob.
    """

    def owner(kind, version, name, **spec):
        return {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }

    def labelled(name):
        template = _template(image)
        template["metadata"]["labels"] = {"app": name}
        return {"selector": {"matchLabels": {"app": name}}, "template": template}

    once = _template(image, restartPolicy="Never")
    again = _template(image, restartPolicy="OnFailure")
    made = [
        deployment(namespace, image, "deployment", replicas=3),
        owner("StatefulSet", "apps/v1", "statefulset", serviceName="web", **labelled("stateful")),
        owner("DaemonSet", "apps/v1", "daemonset", **labelled("daemon")),
        owner("Job", "batch/v1", "job", template=once),
        owner(
            "CronJob",
            "batch/v1",
            "cronjob",
            schedule="* * * * *",
            concurrencyPolicy="Forbid",
            jobTemplate={"spec": {"template": again}},
        ),
        pod(namespace, image, "bare", restartPolicy="Never"),
        pod(
            namespace,
            image,
            "init",
            initContainers=[{"name": "first", "image": image, "command": ["/bin/true"]}],
        ),
        pod(
            namespace,
            image,
            "sidecar",
            initContainers=[{"name": "side", "image": image, "restartPolicy": "Always"}],
        ),
        # As GitLab's runners make them: build, helper and service in one bare Pod.
        {
            **pod(namespace, image, "runner"),
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": n, "image": image} for n in ("build", "helper", "svc-0")],
            },
        },
    ]
    return made if scheduled else [each for each in made if each["kind"] != "CronJob"]


def _spec(image: str, **spec: Any) -> dict[str, Any]:
    # No grace: busybox's sleep is process 1 and does not heed SIGTERM.
    return {
        "containers": [{"name": "web", "image": image}],
        "terminationGracePeriodSeconds": 0,
        **spec,
    }


async def pods(client: ApiClient, namespace: str) -> list[dict[str, Any]]:
    """
    Return the Pods of a namespace.
    """
    return (await client.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]


async def wait_for_pods(
    client: ApiClient,
    namespace: str,
    condition: Callable[[dict[str, Any]], bool],
    *,
    count: int = 1,
    within: float = 90.0,
) -> list[dict[str, Any]]:
    """
    Return the Pods of a namespace as soon as there are `count`, and each meets the condition.
    """
    deadline = time.monotonic() + within
    while True:
        found = await pods(client, namespace)
        if len(found) == count and all(map(condition, found)):
            return found
        if time.monotonic() > deadline:
            states = [(each["metadata"]["name"], container_statuses(each)) for each in found]
            raise TimeoutError(f"After {within:.0f} s there is: {states}")
        await asyncio.sleep(0.1)


def container_statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """
    Return the statuses of all containers, those of init containers first.
    """
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def container_image(pod: dict[str, Any]) -> str:
    """
    Return the image in the spec of the first container.
    """
    return pod["spec"]["containers"][0]["image"]


def is_running(pod: dict[str, Any]) -> bool:
    """
    Whether the Pod and all its containers run.
    """
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return bool(statuses) and all("running" in each["state"] for each in statuses)


def is_stuck(pod: dict[str, Any]) -> bool:
    """
    Whether a container waits because its image can't be pulled.
    """
    return any(
        each["state"].get("waiting", {}).get("reason") in PULL_FAILURES
        for each in container_statuses(pod)
    )
