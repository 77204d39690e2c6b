"""
Tell an API server about a webhook, as the chart does, and wait until it has heard.
"""

import asyncio
import re
import time

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.kube.client import ApiClient, object_path
from webhook.demo.registration import webhook_configuration


__all__ = ["TRIAL_NAMESPACE", "register", "registered", "webhook_configuration"]

TRIAL_NAMESPACE = "webhook-trial"

_WITHIN = 30.0  # Seconds.


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
