"""
Replicas that come and go: no Pod is refused, and none is missed.
"""

import asyncio
import time

import pytest
import trustme

from tests.support.kube.balancer import Backend, Balancer
from tests.support.kube.creation import constant_creation
from tests.support.kube.registration import registered, webhook_configuration
from tests.support.kube.webhook import WebhookProcess, configuration
from webhook.demo.standin import HarborStandIn, ThreadedStandIn


pytestmark = [pytest.mark.kube, pytest.mark.slow]

_RESTARTS = 20


async def test_rolling_restarts_miss_no_pod(client, make_namespace, tmp_path):
    """
    While two replicas are stopped by SIGTERM and started 20 times in turn, every Pod is rewritten.
    """
    namespace, authority = await make_namespace("enforce"), trustme.CA()
    with ThreadedStandIn(HarborStandIn()) as harbor:
        replicas = [
            WebhookProcess(
                tmp_path / f"replica-{index}",
                configuration(harbor.url),
                authority,
                drain_seconds=1.0,
            )
            for index in range(2)
        ]
        backends = [Backend(each.port, f"{each.ops_url}/readyz") for each in replicas]
        try:
            await asyncio.gather(*(asyncio.to_thread(each.start) for each in replicas))
            async with Balancer(backends) as balancer:
                await balancer.all_ready()
                url = f"https://127.0.0.1:{balancer.port}"
                ca_bundle = replicas[0].ca_bundle
                async with registered(client, webhook_configuration(url, ca_bundle)):
                    started = time.monotonic()
                    codes = []
                    async with constant_creation(client, namespace) as pods:
                        for restart in range(_RESTARTS):
                            replica = replicas[restart % 2]
                            codes.append(await asyncio.to_thread(replica.stop))
                            await asyncio.to_thread(replica.start)
                            await balancer.all_ready()
                    seconds = time.monotonic() - started
                failed = balancer.failed
        finally:
            for each in replicas:
                await asyncio.to_thread(each.stop)
    print(
        f"{_RESTARTS} restarts in {seconds:.0f} s: {pods.accepted} Pods accepted,"
        f" {pods.refused} refused, {pods.missed} not rewritten; longest creation {pods.longest * 1000:.0f} ms"
    )

    assert codes == [0] * _RESTARTS
    assert pods.refused == 0
    assert pods.missed == 0
    assert failed == 0
    assert pods.accepted > 10 * _RESTARTS
