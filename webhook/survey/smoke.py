"""
Prove in a cluster that images are rewritten: what `helm test` runs.

The API server is asked, in a dry run, what it would make of a Pod with one image per configured
registry.  So the whole way is taken (API server, TLS, Service, webhook) and nothing is started.
"""

import asyncio
import time

from typing import Any, Final

from webhook.config import Config, Registry
from webhook.errors import ClusterError, SmokeError
from webhook.harbor.monitor import Monitor
from webhook.image.availability import Availability, State
from webhook.kube.api import Kube
from webhook.survey.explanation import explain_image


__all__ = ["prove", "wanted"]

_RETRY_AFTER: Final = 1.0  # Seconds.
_UNWELL_SECONDS: Final = 10.0
"""
For how long Harbor must be away before that is taken as the reason; a webhook that has just
started, or a Harbor that restarts, is given its time.
"""


def wanted(config: Config) -> dict[str, str]:
    """
    Return a sample image of every registry, and what it should become while Harbor is well.
    """
    well = Availability.of_all(tuple(rule.project for rule in config.rules.rules))
    samples = [_sample(registry) for registry in config.registries]
    if config.mode == "audit":
        return {image: image for image in samples}
    return {image: explain_image(image, config, well).result for image in samples}


def _sample(registry: Registry) -> str:
    return f"{registry.host}/{registry.canary or 'library/busybox:1'}"


async def prove(kube: Kube, config: Config, namespace: str, patience: float) -> dict[str, str]:
    """
    Wait, for *patience* seconds, until Pods of *namespace* come out as they should; return how.

    Where Harbor is away, so that nothing can be rewritten, the wait ends earlier.

    Raises:
        SmokeError: with what is wrong, if they do not.
    """
    expected = wanted(config)
    monitor = Monitor(config)
    started = well = time.monotonic()
    while True:
        found: dict[str, str] = {}
        try:
            found = await _dry_run(kube, namespace, list(expected))
            trouble = ""
        except ClusterError as error:
            # A namespace that was just made has no ServiceAccount for its Pods yet, for example.
            trouble = f"the API server refuses a Pod in {namespace}: {error}"
        if found == expected:
            return found
        await monitor.round()
        unwell = _unwell(monitor)
        now = time.monotonic()
        if trouble or monitor.view().harbor is State.AVAILABLE:
            well = now
        if now - started >= patience or now - well >= _UNWELL_SECONDS:
            raise SmokeError(trouble or _explain(expected, found, unwell))
        await asyncio.sleep(_RETRY_AFTER)


async def _dry_run(kube: Kube, namespace: str, images: list[str]) -> dict[str, str]:
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "smoke-"},
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {"name": f"sample-{number}", "image": image, "securityContext": context}
                for number, image in enumerate(images)
            ],
        },
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    answer = await kube.request("POST", path, pod, query={"dryRun": "All"})
    containers: list[dict[str, Any]] = answer.expect()["spec"]["containers"]
    by_name = {container["name"]: container["image"] for container in containers}
    return {image: by_name[f"sample-{number}"] for number, image in enumerate(images)}


def _unwell(monitor: Monitor) -> list[str]:
    """
    Return what of Harbor can't serve, and why, as seen from here.
    """
    status = monitor.status()
    return [
        f"{name} is {each.state}: {each.why}"
        for name, each in {"Harbor": status.harbor, **status.projects}.items()
        if each.state is not State.AVAILABLE
    ]


def _explain(expected: dict[str, str], found: dict[str, str], unwell: list[str]) -> str:
    """
    Say which images came out wrong, and whether Harbor is why.
    """
    wrong = [
        f"{image} became {found[image]}" for image in expected if found[image] != expected[image]
    ]
    if unwell:
        reason = "Harbor can't serve, so images are kept, as they should be:"
    else:
        reason = "Harbor is available, as seen from here; see the webhook's log and /status"
    return "\n  ".join([f"not rewritten: {'; '.join(wrong)}", reason, *unwell])
