"""
Find what would hurt before it does.

That is policies that refuse a Pod whose image is on Harbor, and nodes on which one pull that hangs
stops all others.

The API server is asked with dry runs: nothing is created.  Each rewritten image is tried beside its
original, so that a Pod that is refused anyway isn't counted against Harbor.
"""

import asyncio
import re

from collections.abc import Iterator
from typing import Any, Final

from webhook.errors import ClusterError
from webhook.image.decision import Rewrite, rewrite_by_rules
from webhook.kube.api import Kube
from webhook.kube.listing import Listing
from webhook.pod.decision import Policy
from webhook.pod.model import MODE_LABEL
from webhook.survey.model import NodePulls, PreflightResult, Survey, Unseen


__all__ = ["node_pulls", "preflight"]

_AT_ONCE: Final = 8
_NODE_SECONDS: Final = 10.0
_POLICY: Final = re.compile(
    r"(ValidatingAdmissionPolicy '[^']+')|admission (webhook \"[^\"]+\")|(violates PodSecurity)"
)


async def preflight(cluster: Kube, survey: Survey, policy: Policy) -> list[PreflightResult]:
    """
    Try one rewritten image per opted-in namespace and proxy project.
    """
    limit = asyncio.Semaphore(_AT_ONCE)

    async def attempt(namespace: str, rewrite: Rewrite, image: str) -> PreflightResult:
        async with limit:
            return await _attempt(cluster, namespace, image, rewrite.result)

    return await asyncio.gather(
        *(attempt(*candidate) for candidate in _candidates(survey, policy))
    )


def _candidates(survey: Survey, policy: Policy) -> Iterator[tuple[str, Rewrite, str]]:
    """
    Yield what to try: images that are in use, or else one by the first rule.
    """
    for namespace in survey.namespaces:
        if namespace.mode not in ("enforce", "audit"):
            continue
        tried: set[str] = set()
        images = [
            image.image
            for workload in survey.workloads
            if workload.namespace == namespace.name
            for image in workload.images
            if image.outcome == "would-rewrite"
        ]
        first = policy.rules.rules[0].host
        for image in images or [f"{first}/library/busybox:latest"]:
            decision = rewrite_by_rules(image, policy.rules)
            if isinstance(decision, Rewrite) and decision.rule.project not in tried:
                tried.add(decision.rule.project)
                yield namespace.name, decision, image


async def node_pulls(cluster: Kube, unseen: list[Unseen]) -> list[NodePulls]:
    """
    Ask every node's kubelet how it pulls; what can't be asked is noted in *unseen*.

    While a kubelet that pulls one image at a time (its default) waits for a pull that hangs, no
    other Pod's image is pulled on that node.
    """
    names: list[str] = []
    try:
        async for item in Listing(cluster, "/api/v1/nodes"):
            names.append(str(item["metadata"]["name"]))  # noqa: PERF401 -- Those before an error.
    except ClusterError as error:
        unseen.append(Unseen("how nodes pull", str(error)))
        return []
    limit = asyncio.Semaphore(_AT_ONCE)
    failures: dict[str, list[str]] = {}

    async def ask(name: str) -> NodePulls | None:
        async with limit:
            try:
                return await _ask_node(cluster, name)
            except ClusterError as error:
                failures.setdefault(str(error), []).append(name)
                return None

    found = await asyncio.gather(*map(ask, names))
    for why, nodes in failures.items():
        others = f" and {len(nodes) - 1} others" if len(nodes) > 1 else ""
        unseen.append(Unseen(f"how {nodes[0]}{others} pull{'' if others else 's'}", why))
    return [pulls for pulls in found if pulls is not None]


async def _ask_node(cluster: Kube, name: str) -> NodePulls:
    try:
        async with asyncio.timeout(_NODE_SECONDS):
            answer = await cluster.get(f"/api/v1/nodes/{name}/proxy/configz")
    except TimeoutError as error:
        raise ClusterError(f"no answer within {_NODE_SECONDS:g} s") from error
    found = answer.get("kubeletconfig") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise ClusterError("its kubelet does not tell its configuration")
    # Both defaults are the kubelet's own (`pkg/kubelet/apis/config/v1beta1/defaults.go`).
    if found.get("serializeImagePulls", True):
        return NodePulls(name, 1)
    return NodePulls(name, found.get("maxParallelImagePulls"))


async def _attempt(
    cluster: Kube, namespace: str, original: str, rewritten: str
) -> PreflightResult:
    refusal = await _refusal(cluster, namespace, rewritten)
    if not refusal:
        return PreflightResult(namespace, rewritten, "accepted")
    match = _POLICY.search(refusal)
    policy = next((group for group in match.groups() if group), "") if match else ""
    anyway = await _refusal(cluster, namespace, original)
    outcome: Any = "inconclusive" if anyway else "refused"
    return PreflightResult(namespace, rewritten, outcome, policy, refusal)


async def _refusal(cluster: Kube, namespace: str, image: str) -> str:
    """
    Return the API server's words against a Pod with *image*, or an empty string.
    """
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        answer = await cluster.request(
            "POST", path, _pod(namespace, image), query={"dryRun": "All"}
        )
        answer.expect()
    except ClusterError as error:
        return str(error) or "refused without a word"
    return ""


def _pod(namespace: str, image: str) -> dict[str, Any]:
    """
    Return a Pod that asks for as little as can be, so that only its image can give offence.
    """
    resources = {"cpu": "1m", "memory": "1Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "harbor-cache-preflight-",
            "namespace": namespace,
            # Our own webhook keeps out of it.
            "labels": {MODE_LABEL: "off"},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "preflight",
                    "image": image,
                    "resources": {"requests": resources, "limits": resources},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
