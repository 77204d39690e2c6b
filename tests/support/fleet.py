"""
A cluster full of Pods and of the workloads behind them, made quickly, with known numbers.
"""

import asyncio

from collections import Counter
from dataclasses import dataclass, field

from webhook.config import default_config
from webhook.survey.tally import TEMPLATES, Tally


__all__ = ["HOSTILE", "Fleet", "fill", "surveyed"]

HARBOR = "harbor-cache.example.com"
IMAGES = (
    "nginx:1.27",
    "docker.io/library/redis",
    "quay.io/prometheus/node-exporter:v1.8.2",
    "gcr.io/distroless/static@sha256:" + "a" * 64,
    "ghcr.io/acme/app:3",
    "registry.k8s.io/pause:3.10",
    "registry-1.docker.io/library/memcached:latest",
    "registry.corp.local:5000/team/app:1",
)
HOSTILE = ("<script>alert(1)</script>", "\x1b[31mred\x1b[0m\x07", "=cmd|'/c calc'!A1", "a" * 3000)


@dataclass
class Fleet:
    """
    What was made, counted while it was made.
    """

    namespaces: list[str] = field(default_factory=list)
    pods: int = 0
    uses: int = 0
    would_rewrite: int = 0
    pods_by_registry: Counter = field(default_factory=Counter)
    cached: int = 0
    restored: int = 0
    with_secrets: int = 0


async def fill(client, *, prefix, namespaces=40, pods=5000):
    """
    Make namespaces, Deployments with ReplicaSets, CronJobs with Jobs, and Pods behind them.
    """
    fleet = Fleet()
    gate = asyncio.Semaphore(24)

    async def create(thing):
        async with gate:
            (await client.create(thing)).expect()

    names = [f"{prefix}-{index:02}" for index in range(namespaces)]
    fleet.namespaces = names
    labels = {0: "enforce", 1: "audit", 2: "enforced", 3: "enforce"}
    async with asyncio.TaskGroup() as group:
        for index, name in enumerate(names):
            metadata = {"name": name}
            if index in labels:
                metadata["labels"] = {"harbor-cache.io/mode": labels[index]}
            group.create_task(
                create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            )
    async with asyncio.TaskGroup() as group:
        for index, name in enumerate(names):
            for thing in _workloads(name, IMAGES[index % len(IMAGES)]):
                group.create_task(create(thing))
    async with asyncio.TaskGroup() as group:
        for number in range(pods):
            group.create_task(create(_pod(fleet, names[number % namespaces], number)))
    return fleet


def _workloads(namespace, image):
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": _spec(image)}
    yield _object("apps/v1", "Deployment", "web", namespace, _selected(template))
    replica_set = _object("apps/v1", "ReplicaSet", "web-abc", namespace, _selected(template))
    replica_set["metadata"]["ownerReferences"] = [_owner("apps/v1", "Deployment", "web")]
    yield replica_set
    stateful = _selected(template) | {"serviceName": "db"}
    yield _object("apps/v1", "StatefulSet", "db", namespace, stateful)
    yield _object("apps/v1", "DaemonSet", "agent", namespace, _selected(template))
    job = {"template": {"spec": _spec(image) | {"restartPolicy": "Never"}}}
    cron = {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}
    yield _object("batch/v1", "CronJob", "nightly", namespace, cron)
    run = _object("batch/v1", "Job", "nightly-1", namespace, job)
    run["metadata"]["ownerReferences"] = [_owner("batch/v1", "CronJob", "nightly")]
    yield run


def _pod(fleet, namespace, number):
    """
    Return one of the Pods, and count what an audit has to find in it.
    """
    # Shifted from row to row, so that every namespace has several.
    image = IMAGES[(number + number // 40) % len(IMAGES)]
    # Those that nothing controls are of a pipeline.
    name = f"p{number}" if number % 3 < 2 else f"runner-x7-project-{number}-concurrent-0"
    pod = _object("v1", "Pod", name, namespace, _spec(image))
    metadata, spec = pod["metadata"], pod["spec"]
    owners = (("apps/v1", "ReplicaSet", "web-abc"), ("apps/v1", "StatefulSet", "db"), None)
    if owner := owners[number % 3]:
        metadata["ownerReferences"] = [_owner(*owner)]
    first, slash, _ = image.partition("/")
    host = first if slash and first != "registry-1.docker.io" else "docker.io"
    covered = host in ("docker.io", "quay.io", "gcr.io")
    fleet.pods += 1
    fleet.uses += 1
    fleet.would_rewrite += covered
    fleet.pods_by_registry[host] += 1
    if image == "nginx:1.27" and number % 3:
        # Rewritten; those with odd numbers were restored.
        metadata["annotations"] = {"original.harbor-cache.io/main": image}
        metadata["labels"] = {"harbor-cache.io/rewritten": "true"}
        if number % 2:
            fleet.restored += 1
        else:
            spec["containers"][0]["image"] = f"{HARBOR}/proxy.docker.io/library/nginx:1.27"
            fleet.cached += 1
    if number % 100 == 1:
        spec["imagePullSecrets"] = [{"name": "mine"}]
        fleet.with_secrets += covered
    if number < len(HOSTILE):
        # A second container, whose image is trouble.
        spec["containers"].append({"name": "hostile", "image": HOSTILE[number]})
        fleet.uses += 1
    return pod


def _spec(image):
    return {"containers": [{"name": "main", "image": image}]}


def _selected(template):
    return {"selector": {"matchLabels": {"app": "web"}}, "template": template}


def _object(version, kind, name, namespace, spec):
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _owner(version, kind, name):
    return {"apiVersion": version, "kind": kind, "name": name, "uid": "1", "controller": True}


class Recorder:
    """
    Takes what `fill` makes in place of an API server, and feeds it to a tally.
    """

    def __init__(self, tally):
        self._tally = tally
        self._things = []

    async def create(self, thing):
        self._things.append(thing)
        return self

    def expect(self):
        return {}

    def feed(self):
        by_kind = {}
        for thing in self._things:
            by_kind.setdefault(thing["kind"], []).append(thing)
        for thing in by_kind.pop("Namespace"):
            self._tally.add_namespace(thing)
        pods = by_kind.pop("Pod")
        for kind in TEMPLATES:
            for thing in by_kind.pop(kind, ()):
                self._tally.add_workload(kind, thing)
        for pod in pods:
            self._tally.add_pod(pod)


async def surveyed(**options):
    """
    Return a fleet, and the survey of it, without an API server.
    """
    tally = Tally(default_config().policy)
    recorder = Recorder(tally)
    fleet = await fill(recorder, prefix="team", **options)
    recorder.feed()
    survey = tally.result(cluster="https://cluster.example", generated="2026-11-24T12:00:00+00:00")
    return fleet, survey
