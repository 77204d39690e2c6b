import asyncio

import pytest

from webhook.errors import ClusterError
from webhook.kube.lease import Leadership, Times


TIMES = Times(lease=0.6, renew_within=0.4, retry=0.05)
PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases/one"


class Api:
    """
    A Lease in memory, with compare-and-swap; `down` refuses every call.
    """

    def __init__(self):
        self.item = None
        self.version = 0
        self.down = False

    async def get(self, path):
        await self._check()
        if self.item is None:
            raise ClusterError("not found", 404)
        return {**self.item, "metadata": {"name": "one", "resourceVersion": str(self.version)}}

    async def create(self, path, item):
        await self._check()
        if self.item is not None:
            raise ClusterError("there already", 409)
        self._store(item)

    async def replace(self, path, item):
        await self._check()
        if item["metadata"].get("resourceVersion") != str(self.version):
            raise ClusterError("changed", 409)
        self._store(item)

    async def _check(self):
        await asyncio.sleep(0)
        if self.down:
            raise ClusterError("can't be reached")

    def _store(self, item):
        self.item, self.version = item, self.version + 1


class Worker:
    """
    Work that says whether it is being done, and refuses to be done twice at once.
    """

    busy = 0
    most = 0

    async def __call__(self):
        Worker.busy += 1
        Worker.most = max(Worker.most, Worker.busy)
        try:
            await asyncio.Event().wait()
        finally:
            Worker.busy -= 1


@pytest.fixture
def api():
    Worker.busy = Worker.most = 0
    return Api()


def candidate(api, name):
    return Leadership(api, namespace="default", name="one", identity=name, times=TIMES)


async def until(check):
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.01)


async def stop(task):
    task.cancel()
    await asyncio.wait([task])


async def test_one_of_two_leads(api):
    """
    While one holds the Lease the other waits; given back, it goes over at once.
    """
    first, second = candidate(api, "first"), candidate(api, "second")
    one = asyncio.create_task(first.run(Worker()))
    await until(lambda: first.leading)
    two = asyncio.create_task(second.run(Worker()))
    await asyncio.sleep(3 * TIMES.lease)
    assert not second.leading

    await stop(one)
    assert "" == api.item["spec"]["holderIdentity"]
    await until(lambda: second.leading)
    await stop(two)

    assert 1 == Worker.most
    assert 0 == Worker.busy


async def test_work_stops_when_the_api_server_is_gone(api):
    """
    Who can't renew stops before another could begin, and leads again when it can.
    """
    leader = candidate(api, "first")
    task = asyncio.create_task(leader.run(Worker()))
    await until(lambda: leader.leading)

    api.down = True
    await until(lambda: not leader.leading)
    assert 0 == Worker.busy

    api.down = False
    await until(lambda: leader.leading)
    await stop(task)


async def test_a_dead_holder_is_succeeded(api):
    """
    A Lease that nobody renews counts from when it was seen first, whatever its clock says.
    """
    api._store(
        {
            "metadata": {},
            "spec": {
                "holderIdentity": "dead",
                "renewTime": "2099-01-01T00:00:00.000000Z",
                "leaseDurationSeconds": 1,
            },
        }
    )
    heir = candidate(api, "heir")
    task = asyncio.create_task(heir.run(Worker()))
    await asyncio.sleep(0.5)
    assert not heir.leading

    await until(lambda: heir.leading)
    assert 1 == api.item["spec"]["leaseTransitions"]
    await stop(task)


async def test_work_that_breaks_is_begun_again(api):
    """
    A mistake in the work costs the Lease for a moment, and never ends the controller.
    """
    runs = []

    async def break_once():
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("a mistake of ours")
        await asyncio.Event().wait()

    leader = candidate(api, "first")
    task = asyncio.create_task(leader.run(break_once))

    await until(lambda: len(runs) == 2)
    assert leader.leading
    await stop(task)
