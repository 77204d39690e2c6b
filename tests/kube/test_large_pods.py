"""
Pods of over a megabyte, which anyone may create: the controller lives, and goes on with the others.
"""

import asyncio
import time

from contextlib import contextmanager

import pytest

from tests.faults.memory import memory_group
from tests.faults.scenario import NotRun
from tests.support.kube.certificates import Certificates
from tests.support.kube.controllers import Controller, Pods, config_for, eventually, started
from webhook.demo.standin.server import HarborStandIn
from webhook.demo.standin.thread import ThreadedStandIn
from webhook.pod.model import REWRITTEN_LABEL


pytestmark = [pytest.mark.kube, pytest.mark.slow]

_MIB = 1024 * 1024
_LIMIT = 512 * _MIB  # The chart's own.
_LARGE = "<" * 1_200_000  # Each takes six bytes in the API server's JSON.


@contextmanager
def limited(controller):
    """
    Put a started controller under the chart's limit, where the machine lets us.
    """
    try:
        with memory_group(_LIMIT) as group:
            group.add(controller.pid)
            try:
                yield lambda: group.kills
            finally:
                controller.ensure_stopped()  # The group can't be removed before.
    except NotRun as reason:
        print(f"without a control group: {reason}")
        yield lambda: 0


async def slowest_answer(controller, stop):
    """
    Ask for /livez until *stop* is set; return how long the slowest answer took.
    """
    slowest = 0.0
    while not stop.is_set():
        began = time.monotonic()
        assert 200 == (await controller.ask("/livez"))[0]
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.05)
    return slowest


async def test_sixty_large_pods(cluster, client, make_namespace, tmp_path):
    """
    Under 512 MiB, with 60 large Pods, labelled and not: ten stuck ones are restored all the same.

    And certificates are renewed meanwhile, each one trusted.
    """
    with ThreadedStandIn(HarborStandIn(strict=False)) as harbor:
        pods = Pods(client, await make_namespace("enforce"), harbor.url)
        for number in range(60):
            labels = {REWRITTEN_LABEL: "true"} if number % 2 else {}
            env = [{"name": "A", "value": _LARGE}]
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"large-{number}",
                    "namespace": pods.namespace,
                    "labels": labels,
                },
                "spec": {"containers": [{"name": "web", "image": pods.cached(), "env": env}]},
            }
            (await client.create(pod)).expect()
        for number in range(10):
            await pods.stuck(f"stuck-{number}")
        harbor.stop()
        config = config_for(harbor.url)
        certificates = Certificates(client, pods.namespace)
        await certificates.create()
        controller = Controller(
            *(tmp_path, cluster.kubeconfig(), pods.namespace, config),
            *certificates.options,
            *("--certificate-lifetime", "12s", "--ca-lifetime", "36s"),
        )
        async with started(controller):
            with limited(controller) as kills:
                await eventually(lambda: controller.ask("/livez"))
                stop = asyncio.Event()
                asking = asyncio.create_task(slowest_answer(controller, stop))
                serials: set[int] = set()
                began = time.monotonic()
                await eventually(lambda: all_restored(pods))
                took = time.monotonic() - began

                await eventually(lambda: counted(controller))
                await eventually(lambda: renewed(certificates, serials))
                stop.set()
                slowest = await asking
                peak = controller.peak_bytes()
                print(
                    f"10 Pods restored after {took:.1f} s, peak {peak / _MIB:.0f} MiB, "
                    f"slowest /livez {slowest * 1000:.0f} ms"
                )

                assert 0 == kills()
                assert len(controller.events("certificates")) > 2
                assert peak < _LIMIT
                assert 30 == await controller.metric("recovery_failures_total", cause="too-large")
        await client.delete(certificates.configuration)


async def all_restored(pods):
    found = [await pods.images(f"stuck-{number}") for number in range(10)]
    return found == [{"web": "nginx:1"}] * 10


async def renewed(certificates, serials):
    """
    Tell whether a second certificate is served; all of them are trusted.
    """
    pair = await certificates.good_pair()
    if pair is not None:
        serials.add(pair.certificate.serial_number)
    return len(serials) > 1


async def counted(controller):
    """
    Tell whether the census has been through all Pods.
    """
    return await controller.metric("pods", state="restored") or await controller.metric(
        "pods", state="cached"
    )
