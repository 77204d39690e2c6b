"""
A Harbor that comes and goes: the decision does not go with it, and no Pod is refused.
"""

import asyncio
import itertools

import pytest

from tests.support.kube.installation import installation


pytestmark = [pytest.mark.kube, pytest.mark.slow]

_FLAPS = 40
_SECONDS_EACH = 3.0


async def test_two_minutes_of_flapping(client, make_namespace, tmp_path):
    """
    Harbor dies or returns every 3 s for 2 minutes, with the probes that people get by default.
    """
    namespace = await make_namespace("enforce")
    probe = {"interval": "5s", "timeout": "2s", "maxAge": "30s"}
    outcomes = []

    async def create():
        for number in itertools.count():
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"pod-{number}", "namespace": namespace},
                "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
            }
            answer = await client.create(pod)
            outcomes.append(answer.ok and answer.body["spec"]["containers"][0]["image"])
            await asyncio.sleep(0.1)

    async with installation(client, tmp_path, probe=probe) as installed:
        creating = asyncio.create_task(create())
        for number in range(_FLAPS):
            toggle = installed.harbor.start if number % 2 else installed.harbor.stop
            await asyncio.to_thread(toggle)
            await asyncio.sleep(_SECONDS_EACH)
        creating.cancel()
        cached = installed.cached("library/nginx:1")

    changes = sum(before != after for before, after in itertools.pairwise(outcomes))
    rewritten = outcomes.count(cached)
    print(
        f"{_FLAPS} changes of Harbor, {changes} changes of mind; "
        f"{len(outcomes)} Pods, {rewritten} rewritten, {outcomes.count(False)} refused"
    )

    assert 0 == outcomes.count(False)
    assert {cached, "nginx:1"} >= set(outcomes)
    assert changes <= _FLAPS / 4
