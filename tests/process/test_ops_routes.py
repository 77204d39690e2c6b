"""
The ops port of either process.
"""

import pytest

from aiohttp.test_utils import RawTestServer
from prometheus_client import CollectorRegistry, Counter

from webhook.process.ops_routes import ops_handler


@pytest.fixture
def reason():
    return [""]


@pytest.fixture
async def ops(aiohttp_client, reason):
    registry = CollectorRegistry()
    Counter("seen", "Things seen.", registry=registry).inc()
    status = {"harbor": "well"}
    handler = ops_handler(registry, unready=lambda: reason[0], status=lambda: status)
    return await aiohttp_client(RawTestServer(handler))


async def test_readiness(ops, reason):
    """
    Not ready, with the reason, while there is one; alive all the time.
    """
    assert 200 == (await ops.get("/readyz")).status
    reason[0] = "no certificate"
    unready = await ops.get("/readyz")

    assert 503 == unready.status
    assert "no certificate\n" == await unready.text()
    assert 200 == (await ops.get("/livez")).status


async def test_metrics_and_status(ops):
    """
    Metrics are Prometheus' text, the status is JSON.
    """
    assert "seen_total 1.0" in await (await ops.get("/metrics")).text()
    assert {"harbor": "well"} == await (await ops.get("/status")).json()


async def test_everything_else_is_refused(ops):
    """
    Unknown pages are 404, other methods 405, and a HEAD is as good as a GET.
    """
    assert 404 == (await ops.get("/")).status
    assert 405 == (await ops.post("/livez")).status
    assert 200 == (await ops.head("/livez?verbose")).status
