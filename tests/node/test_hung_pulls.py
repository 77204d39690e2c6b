"""
How long a Harbor that hangs holds up Pods that have nothing to do with it.
"""

import asyncio
import tempfile
import time

from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.kube.client import ApiClient
from tests.support.kube.namespaces import namespaces
from tests.support.node.images import push_image
from tests.support.node.node import Node
from tests.support.node.registry import Registry
from tests.support.node.site import PROGRAMS
from tests.support.node.workloads import is_running, pod, wait_for_pods
from webhook.config import default_config
from webhook.demo.cluster import Cluster, find_binaries
from webhook.render import files, write


pytestmark = [pytest.mark.node, pytest.mark.slow]

_ANSWERED_AFTER = 15.0
"""Seconds after which the front answers for Harbor; less than what is rendered, to save time."""


@asynccontextmanager
async def _hung_harbor():
    """
    Accept, stay silent, and then answer 504, as the rendered fronts do.
    """
    asked = asyncio.Event()
    answering = set()

    async def answer(reader, writer):
        answering.add(asyncio.current_task())
        try:
            if await reader.readline():
                asked.set()
                await asyncio.sleep(_ANSWERED_AFTER)
                writer.write(b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n")
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        await asyncio.sleep(0.1)  # For the sockets to close.


async def _seconds_until_another_pod_runs(folder: Path, options):
    with Registry(folder / "other") as other:
        push_image(other.host, "acme/web:1")
        async with _hung_harbor() as (url, asked):
            registries = {"other.test": other.url, "harbor.test": url}
            with (
                Cluster(
                    folder / "cluster", binaries=find_binaries(PROGRAMS), service_accounts=True
                ) as cluster,
                Node(cluster, folder / "node", registries, kubelet_options=options),
            ):
                return await _measure(cluster, asked)


async def _measure(cluster, asked):
    async with (
        ApiClient(cluster) as client,
        namespaces(client, service_accounts=True) as make_namespace,
    ):
        hung, free = await make_namespace(), await make_namespace()
        (await client.create(pod(hung, "harbor.test/proxy/web:1"))).expect()
        await asyncio.wait_for(asked.wait(), 30)
        started = time.monotonic()
        (await client.create(pod(free, "other.test/acme/web:1"))).expect()
        await wait_for_pods(client, free, is_running)
        return time.monotonic() - started


@pytest.mark.usefixtures("_equipped")
async def test_a_hung_pull_holds_up_the_node_unless_pulls_go_side_by_side(short_path):
    """
    By default a Pod from elsewhere waits as long as Harbor hangs; with the rendered file it runs.
    """
    write(files("nodes", default_config()), short_path / "rendered", force=False)
    rendered = short_path / "rendered/kubelet"

    alone = await _seconds_until_another_pod_runs(short_path / "a", ())
    side_by_side = await _seconds_until_another_pod_runs(
        short_path / "b", (f"--config-dir={rendered}",)
    )
    print(
        f"Harbor answers 504 after {_ANSWERED_AFTER:.0f} s; a Pod from elsewhere runs"
        f" after {alone:.1f} s by default, after {side_by_side:.1f} s with pulls side by side"
    )

    assert alone > _ANSWERED_AFTER - 5
    assert side_by_side < _ANSWERED_AFTER / 2


@pytest.fixture
def short_path():
    """
    Provide a folder whose path is short enough for sockets.
    """
    with tempfile.TemporaryDirectory(prefix="hung-") as folder:
        yield Path(folder)
