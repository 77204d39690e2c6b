"""
Certificates that follow each other while Pods are created: none is refused, and none is missed.
"""

import asyncio
import time

from datetime import timedelta

import pytest
import trustme

from certs.rotation import Lifetimes
from tests.support.kube.creation import constant_creation, fail_open_count
from tests.support.kube.installation import wait_until_rewriting
from tests.support.kube.mounted import MountedPair, in_background
from tests.support.kube.registration import registered, webhook_configuration
from tests.support.kube.webhook import WebhookProcess, configuration
from webhook.controller.certificates import CertificateKeeper, Names
from webhook.demo.standin import HarborStandIn, ThreadedStandIn
from webhook.kube.api import connect
from webhook.process.metrics import ControllerMetrics


pytestmark = [pytest.mark.kube, pytest.mark.slow]

_PAIRS = 11  # Rotated ten times.
_AUTHORITIES = 3  # Rotated twice.
_WITHIN = 120.0  # Seconds.
_LIFETIMES = Lifetimes(
    authority=timedelta(seconds=36), serving=timedelta(seconds=12), settling=timedelta(seconds=3)
)


async def test_rotating_certificates_miss_no_pod(cluster, client, make_namespace, tmp_path):
    """
    While the pair is rotated ten times and the authority twice, every Pod is rewritten.
    """
    namespace = await make_namespace("enforce")
    for name in ("ca", "tls"):
        metadata = {"name": name, "namespace": namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata}
        (await client.create(secret)).expect()
    with ThreadedStandIn(HarborStandIn()) as harbor:
        webhook = WebhookProcess(tmp_path, configuration(harbor.url), trustme.CA())
        # The pair stands for the Service's names, and this one leads to loopback.
        registration = webhook_configuration(
            f"https://localhost:{webhook.port}", webhook.ca_bundle
        )
        names = Names(
            namespace=namespace,
            ca_secret="ca",
            tls_secret="tls",
            webhook_configuration=registration["metadata"]["name"],
            service="localhost",
        )
        kubelet = MountedPair(client, f"/api/v1/namespaces/{namespace}/secrets/tls", webhook)
        await asyncio.to_thread(webhook.start)
        try:
            async with registered(client, registration), connect(cluster.kubeconfig()) as kube:
                keeper = CertificateKeeper(kube, names, ControllerMetrics(), _LIFETIMES)
                async with in_background(keeper.run(), kubelet.run()) as loops:
                    host = harbor.url.removeprefix("http://")
                    await wait_until_rewriting(client, namespace, host, rewriting=True)
                    before, started = await fail_open_count(client), time.monotonic()
                    async with constant_creation(client, namespace) as pods:
                        while time.monotonic() < started + _WITHIN and not (
                            len(kubelet.pairs) >= _PAIRS
                            and len(kubelet.authorities) >= _AUTHORITIES
                        ):
                            await asyncio.sleep(0.5)
                        # The last pair has to be served, too.
                        await asyncio.sleep(3)
                    failed_open = await fail_open_count(client) - before
                    seconds = time.monotonic() - started
                    ended = [each for each in loops if each.done()]
        finally:
            await asyncio.to_thread(webhook.stop)
    print(
        f"{len(kubelet.pairs)} pairs of {len(kubelet.authorities)} authorities in {seconds:.0f} s:"
        f" {pods.accepted} Pods accepted, {pods.refused} refused, {pods.missed} not rewritten,"
        f" failed open {failed_open:.0f} times; longest creation {pods.longest * 1000:.0f} ms"
    )

    assert ended == []
    assert len(kubelet.pairs) >= _PAIRS
    assert len(kubelet.authorities) >= _AUTHORITIES
    assert pods.refused == 0
    assert pods.missed == 0
    assert failed_open == 0
    assert pods.accepted > 10 * _PAIRS
