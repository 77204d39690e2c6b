"""
The ops port of either process.
"""

import pytest

from prometheus_client import CollectorRegistry, Counter

from webhook.process.ops_routes import ops_app


@pytest.fixture
def reason():
    return [""]


@pytest.fixture
async def ops(aiohttp_client, reason):
    registry = CollectorRegistry()
    Counter("seen", "Things seen.", registry=registry).inc()
    app = ops_app(registry, unready=lambda: reason[0], status=lambda: {"harbor": "well"})
    return await aiohttp_client(app)


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
