"""
`harbor-cache demo`: see it work, without a cluster and without Harbor.
"""

import asyncio
import functools
import importlib.util
import tempfile

from pathlib import Path
from typing import Final

import click

from webhook.errors import HarborCacheError


_WIDTH: Final = 120


@click.command()
@click.option("--kube", is_flag=True, help="Ask through a real API server (kube-apiserver, etcd).")
def demo(kube: bool) -> None:  # noqa: FBT001 - a flag.
    """
    Show the webhook at work, against a stand-in for Harbor.

    Starts the webhook over TLS, sends it Pods, kills Harbor, and brings it back.  Takes about half
    a minute.  With --kube, the Pods are created in a real API server, which calls the webhook by
    itself, and the controller rescues one and restores one; its programs are found in
    KUBEBUILDER_ASSETS, or built by `make cluster-binaries`.

    Exits with 0 only if everything was seen that should be seen.  For a checkout of the source:
    the container image and the package hold no demo.
    """
    if importlib.util.find_spec("webhook.demo") is None:
        raise HarborCacheError(
            "the demo and its stand-in for Harbor are in a checkout of the source alone: run"
            " `make demo` there"
        )
    with tempfile.TemporaryDirectory(prefix="harbor-cache-demo-") as directory:
        seen = asyncio.run(_play(Path(directory), kube=kube))
    raise SystemExit(0 if seen else 1)


async def _play(directory: Path, *, kube: bool) -> bool:
    import aiohttp

    from rich.console import Console

    from webhook.demo.askers import ThroughApiServer, WithReviews
    from webhook.demo.cluster import Cluster
    from webhook.demo.moves import tell_moves
    from webhook.demo.stage import open_stage
    from webhook.demo.story import Story

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    async with open_stage(directory) as stage, aiohttp.ClientSession() as session:
        if not kube:
            return await Story(console, stage, WithReviews(stage, session)).tell()
        console.print("Starting etcd and kube-apiserver ...")
        cluster = Cluster(directory / "cluster", audit=True)
        try:
            await asyncio.to_thread(cluster.start)
            asker = ThroughApiServer(cluster, stage, session)
            await asker.prepare()
            moves = functools.partial(tell_moves, console, stage, cluster, asker)
            return await Story(console, stage, asker, moves).tell()
        finally:
            await asyncio.to_thread(cluster.stop)
