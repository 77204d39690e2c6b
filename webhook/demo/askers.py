"""
The two ways to ask the webhook about a Pod: by a review of our own, or through an API server.
"""

import asyncio
import base64
import json
import time
import uuid

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol

import aiohttp
import jsonpatch

from webhook.demo.cluster import Cluster
from webhook.demo.registration import webhook_configuration
from webhook.demo.samples import Sample, debugged_pod, pod
from webhook.demo.stage import DemoError, Stage


__all__ = ["Asker", "Created", "ThroughApiServer", "WithReviews"]

_AUDIT_WITHIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class Created:
    """
    What came back.

    Attributes:
        accepted: whether the Pod may exist.
        pod: the Pod as it came out.
        reasons: by container, why its image is what it is.
        warnings: what the client was warned of.
        seconds: how long the answer took.
        answer: the answer itself, as it was received.
    """

    accepted: bool
    pod: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    answer: dict[str, Any] = field(default_factory=dict)


class Asker(Protocol):
    """
    Creates Pods, or asks what would become of them.
    """

    knows_namespaces: bool
    """Whether the label of a Pod's namespace is looked at."""
    real: str
    """What is real about the Pods, to stand in a list of such things."""

    async def create(self, sample: Sample) -> Created:
        """
        Create a Pod and return what became of it.
        """


def _reasons(annotations: dict[str, str]) -> dict[str, str]:
    """
    Read the audit annotations of an answer: ``kept: a=no-rule, b=opted-out`` and so on.
    """
    found: dict[str, str] = {}
    for outcome, names in annotations.items():
        for entry in names.split(", "):
            name, _, reason = entry.partition("=")
            found[name] = reason or {"rewritten": "rule"}.get(outcome, outcome)
    return found


class WithReviews:
    """
    Sends AdmissionReviews as an API server does, and applies the patches that come back.
    """

    knows_namespaces = False
    real = "AdmissionReviews as an API server sends them; every decision and patch."

    def __init__(self, stage: Stage, session: aiohttp.ClientSession) -> None:
        self._stage = stage
        self._session = session

    async def create(self, sample: Sample) -> Created:
        """
        Send one review, over TLS, and apply its patch with a library of its own.
        """
        before = pod(sample.name, sample.spec, sample.labels)
        old = None
        if sample.debugs:
            old, before = before, pod(sample.name, debugged_pod(sample.spec), sample.labels)
        review = _review(before, old)
        path = "/audit" if sample.mode == "audit" else "/mutate"
        started = time.perf_counter()
        async with self._session.post(
            self._stage.url + path, json=review, ssl=self._stage.trust
        ) as response:
            text = await response.text()
            seconds = time.perf_counter() - started
        if response.status != HTTPStatus.OK:
            return Created(accepted=False, pod=before, seconds=seconds)
        answer = json.loads(text)
        said = answer["response"]
        try:
            after = jsonpatch.apply_patch(before, json.loads(base64.b64decode(said["patch"])))
        except KeyError:
            after = before
        except jsonpatch.JsonPatchException:
            return Created(accepted=False, pod=before, seconds=seconds, answer=answer)
        return Created(
            accepted=said.get("allowed") is True and said["uid"] == review["request"]["uid"],
            pod=after,
            reasons=_reasons(said.get("auditAnnotations", {})),
            warnings=tuple(said.get("warnings", ())),
            seconds=seconds,
            answer=answer,
        )


def _review(obj: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "subResource": "ephemeralcontainers" if old else "",
            "operation": "UPDATE" if old else "CREATE",
            "namespace": "demo",
            "object": obj,
            "oldObject": old,
            "dryRun": False,
        },
    }


class ThroughApiServer:
    """
    Creates Pods in a real API server, which calls the webhook by itself.
    """

    knows_namespaces = True
    real = "kube-apiserver and etcd; every Pod is created in them."

    def __init__(self, cluster: Cluster, stage: Stage, session: aiohttp.ClientSession) -> None:
        self._cluster = cluster
        self._stage = stage
        self._session = session
        self._trust = cluster.ssl_context()
        self._headers = {"Authorization": f"Bearer {cluster.tokens['admin']}"}
        self._numbers = iter(range(1_000_000))

    async def prepare(self) -> None:
        """
        Create the namespaces and the webhook configuration, and wait until it is in force.
        """
        for mode in ("enforce", "audit", ""):
            labels = {"harbor-cache.io/mode": mode} if mode else {}
            namespace = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": _namespace(mode), "labels": labels},
            }
            await self._call("POST", "/api/v1/namespaces", namespace)
        await self._call(
            "POST",
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            webhook_configuration(self._stage.url, self._stage.authority),
        )
        trial = Sample("trial", "audit", {"containers": [{"name": "a", "image": "nginx"}]}, {})
        deadline = time.monotonic() + _AUDIT_WITHIN
        while not (await self.create(trial)).warnings:
            if time.monotonic() > deadline:
                raise DemoError("the API server does not call the webhook")
            await asyncio.sleep(0.1)

    async def create(self, sample: Sample) -> Created:
        """
        Create a Pod for real, under a name that is free.
        """
        name = f"{sample.name.partition(',')[0]}-{next(self._numbers)}"
        path = f"/api/v1/namespaces/{_namespace(sample.mode)}/pods"
        manifest = pod(name, sample.spec, sample.labels)
        started = time.perf_counter()
        status, answer, warnings = await self._call("POST", path, manifest)
        if sample.debugs and status < 300:  # noqa: PLR2004 - HTTP's own number.
            manifest = {**answer, "spec": debugged_pod(answer["spec"])}
            path = f"{path}/{name}/ephemeralcontainers"
            started = time.perf_counter()
            status, answer, warnings = await self._call("PUT", path, manifest)
        seconds = time.perf_counter() - started
        if status >= 300:  # noqa: PLR2004 - HTTP's own number.
            return Created(accepted=False, pod=manifest, seconds=seconds, answer=answer)
        return Created(
            accepted=True,
            pod=answer,
            reasons=await self._reasons(sample, name),
            warnings=warnings,
            seconds=seconds,
            answer=answer,
        )

    async def read(self, pod: dict[str, Any]) -> dict[str, Any]:
        """
        Return a Pod as it is now.
        """
        _, answer, _ = await self._call("GET", _path(pod))
        return answer

    async def report(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        """
        Write a Pod's status, as its kubelet does.
        """
        await self._call("PATCH", f"{_path(pod)}/status", {"status": status})

    async def events(self, pod: dict[str, Any]) -> list[str]:
        """
        Return the reasons of the Events about a Pod.
        """
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        _, answer, _ = await self._call("GET", f"/api/v1/namespaces/{namespace}/events")
        return [e["reason"] for e in answer["items"] if e["involvedObject"].get("name") == name]

    async def _reasons(self, sample: Sample, name: str) -> dict[str, str]:
        """
        Look up in the API server's audit log what the webhook said of a Pod.
        """
        verb = "update" if sample.debugs else "create"
        deadline = time.monotonic() + _AUDIT_WITHIN
        while time.monotonic() < deadline:
            for event in self._audit_events():
                if event["verb"] == verb and event["objectRef"].get("name") == name:
                    said = {
                        key.partition("/")[2]: value
                        for key, value in event.get("annotations", {}).items()
                        if key.partition("/")[0].endswith(".harbor-cache.io")
                    }
                    return _reasons(said) or _not_asked(sample)
            await asyncio.sleep(0.05)
        return {}

    def _audit_events(self) -> list[dict[str, Any]]:
        log = self._cluster.audit_log
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any], tuple[str, ...]]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with self._session.request(
            method,
            self._cluster.url + path,
            data=None if body is None else json.dumps(body),
            headers={**self._headers, "Content-Type": kind},
            ssl=self._trust,
        ) as response:
            warnings = response.headers.getall("Warning", [])
            texts = tuple(line.split(" ", 2)[2].strip('"') for line in warnings)
            return response.status, await response.json(), texts


def _path(pod: dict[str, Any]) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def _namespace(mode: str) -> str:
    return f"demo-{mode or 'unlabelled'}"


def _not_asked(sample: Sample) -> dict[str, str]:
    """
    Say why the API server did not ask the webhook at all.
    """
    reason = "opted-out" if sample.labels else "no label"
    return dict.fromkeys(sample.expected, reason)
