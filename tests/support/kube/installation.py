"""
The webhook, installed: a Harbor stand-in, `harbor-cache serve`, and its registration.
"""

import asyncio
import time

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from tests.support.kube.client import ApiClient
from tests.support.kube.registration import registered, webhook_configuration
from tests.support.kube.webhook import WebhookProcess, configuration
from webhook.demo.standin import HarborStandIn, ThreadedStandIn


__all__ = ["Installation", "installation", "wait_until_rewriting"]


@dataclass(frozen=True, slots=True)
class Installation:
    """
    What is running, and what images are rewritten to.
    """

    harbor: ThreadedStandIn
    webhook: WebhookProcess
    harbor_host: str

    def cached(self, path: str, project: str = "proxy.docker.io") -> str:
        """
        Return the reference through Harbor.
        """
        return f"{self.harbor_host}/{project}/{path}"


@asynccontextmanager
async def installation(
    client: ApiClient, directory: Path, *, reinvocation: str = "IfNeeded", **sections: Any
) -> AsyncIterator[Installation]:
    """
    Hold an installation in place; `sections` go into the config file.
    """
    with ThreadedStandIn(HarborStandIn()) as harbor:
        config = configuration(harbor.url, **sections)
        webhook = WebhookProcess(directory / "webhook", config, trustme.CA())
        await asyncio.to_thread(webhook.start)
        try:
            registration = webhook_configuration(webhook.url, webhook.ca_bundle)
            for hook in registration["webhooks"]:
                hook["reinvocationPolicy"] = reinvocation
            async with registered(client, registration):
                yield Installation(harbor, webhook, harbor.url.removeprefix("http://"))
        finally:
            await asyncio.to_thread(webhook.stop)


async def wait_until_rewriting(
    client: ApiClient, namespace: str, harbor_host: str, *, rewriting: bool, within: float = 30.0
) -> float:
    """
    Wait until Pods of a namespace are rewritten, or kept; return how many seconds it took.
    """
    started = time.monotonic()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": {"containers": [{"name": "trial", "image": "trial:1"}]},
    }
    while time.monotonic() < started + within:
        created = (await client.create(pod, dry_run=True)).expect()
        if created["spec"]["containers"][0]["image"].startswith(harbor_host) is rewriting:
            return time.monotonic() - started
        await asyncio.sleep(0.1)
    raise TimeoutError(f"Not {'rewriting' if rewriting else 'keeping'} after {within} s.")
