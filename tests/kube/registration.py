"""
Tell an API server about a webhook, as the chart does, and wait until it has heard.
"""

import asyncio
import base64
import re
import time

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.kube.client import ApiClient, object_path


__all__ = ["TRIAL_NAMESPACE", "register", "registered", "webhook_configuration"]

TRIAL_NAMESPACE = "webhook-trial"

_WITHIN = 30.0  # Seconds.


def webhook_configuration(
    url: str, ca_bundle: bytes, name: str = "harbor-cache-webhook"
) -> dict[str, Any]:
    """
    Return the two entries of the chart, with a URL in place of its Service.
    """
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            _entry("audit", f"{url}/audit", ca_bundle),
            _entry("enforce", f"{url}/mutate", ca_bundle),
        ],
    }


def _entry(mode: str, url: str, ca_bundle: bytes) -> dict[str, Any]:
    def rule(resource: str, operation: str) -> dict[str, Any]:
        return {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": [resource],
            "operations": [operation],
            "scope": "Namespaced",
        }

    return {
        "name": f"{mode}.harbor-cache.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 2,
        "reinvocationPolicy": "IfNeeded",
        "matchPolicy": "Equivalent",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(ca_bundle).decode()},
        "rules": [rule("pods", "CREATE"), rule("pods/ephemeralcontainers", "UPDATE")],
        "namespaceSelector": {
            "matchLabels": {"harbor-cache.io/mode": mode},
            "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": ["kube-system", "kube-node-lease", "harbor-cache"],
                }
            ],
        },
        "objectSelector": {
            "matchExpressions": [
                {"key": "harbor-cache.io/mode", "operator": "NotIn", "values": ["off"]}
            ]
        },
        "matchConditions": [
            {
                "name": "no-mirror-pods",
                "expression": "!('kubernetes.io/config.mirror' in"
                " object.metadata.?annotations.orValue({}))",
            }
        ],
    }


async def register(client: ApiClient, configuration: dict[str, Any]) -> None:
    """
    Put a webhook configuration in place, and return when the API server has taken it in.

    It learns of it a moment later, by its own watch.  So Pods are created (dry run, in a namespace
    of their own) until its metrics show that one led to a call.
    """
    await _prepare_trial(client)
    (await client.create(configuration)).expect()
    await _wait_for_calls(client, wanted=True)


@asynccontextmanager
async def registered(client: ApiClient, configuration: dict[str, Any]) -> AsyncIterator[None]:
    """
    Hold a webhook configuration in place; on exit the API server has forgotten it.
    """
    path = object_path(configuration)
    try:
        await register(client, configuration)
        yield
    finally:
        await client.delete(path)
        await _wait_for_calls(client, wanted=False)


async def _prepare_trial(client: ApiClient) -> None:
    labels = {"harbor-cache.io/mode": "enforce"}
    for thing in (
        {"kind": "Namespace", "metadata": {"name": TRIAL_NAMESPACE, "labels": labels}},
        # A controller manager, if there is one, would make it a moment later.
        {"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": TRIAL_NAMESPACE}},
    ):
        (await client.apply({"apiVersion": "v1", **thing})).expect()


async def _wait_for_calls(client: ApiClient, *, wanted: bool) -> None:
    deadline = time.monotonic() + _WITHIN
    while time.monotonic() < deadline:
        before = await _calls(client)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "trial", "namespace": TRIAL_NAMESPACE},
            "spec": {"containers": [{"name": "trial", "image": "trial.invalid/trial:1"}]},
        }
        (await client.create(pod, dry_run=True)).expect()
        if (await _calls(client) > before) is wanted:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(
        f"The API server has not {'taken in' if wanted else 'forgotten'} a webhook."
    )


async def _calls(client: ApiClient) -> float:
    """
    Return how often the API server has called, or tried to call, our enforcing entry.
    """
    metrics = await client.get("/metrics")
    found = re.findall(
        r"^apiserver_admission_webhook_admission_duration_seconds_count"
        r'\{name="enforce\.harbor-cache\.io",[^}]*\} (\S+)$',
        metrics,
        re.MULTILINE,
    )
    return sum(float(count) for count in found)
