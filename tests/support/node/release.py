"""
A site for the chart: a node whose Pods reach the API server and Harbor, and helm.

There is no kube-proxy.  The address of the Service `kubernetes`, which every Pod is told, is put on
an interface of its own, where a forwarder passes connections on to the API server; the API server itself
reaches the endpoints of the webhook's Service by aggregator routing.
"""

import asyncio
import contextlib
import random
import secrets
import shutil
import subprocess
import tempfile
import threading

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.support.helm import CHART, helm
from tests.support.node.node import Node
from tests.support.node.product import built_image
from tests.support.node.registry import Registry
from tests.support.node.site import PROGRAMS, PROJECT
from tests.support.readme import commands
from webhook import __version__
from webhook.demo.cluster import Cluster, find_binaries
from webhook.demo.standin import HarborStandIn, ThreadedStandIn


NAME = "harbor-cache-webhook"
NAMESPACE = "harbor-cache"


class _Forwarder:
    """
    Pass TCP connections of one address on to another, in a thread of its own.
    """

    def __init__(self, listen: tuple[str, int], to: tuple[str, int]) -> None:
        self._listen, self._to = listen, to
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._up = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, *self._listen))
        self._up.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader, writer) -> None:
        with contextlib.suppress(OSError):
            there, away = await asyncio.open_connection(*self._to)
            await asyncio.gather(_copy(reader, away), _copy(there, writer))


async def _copy(reader, writer) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class ReleaseSite:
    """
    A cluster with one node, a registry that has the product's image too, Harbor, and no webhook.
    """

    def __init__(self) -> None:
        self.keep = False
        self.directory = Path(tempfile.mkdtemp(prefix="site-"))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            print(f"Logs of the site: {self.directory}")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self.keep:
            print(f"Logs of the site: {self.directory}")
        else:
            shutil.rmtree(self.directory)

    def _start(self) -> None:
        image = built_image(__version__)
        enter = self._stack.enter_context
        network = f"10.{random.randrange(128, 250)}"
        address = f"{network}.0.1"
        interface = f"hcw{secrets.token_hex(4)}"
        _run("ip", "link", "add", interface, "type", "bridge")
        self._stack.callback(_run, "ip", "link", "delete", interface)
        _run("ip", "address", "add", f"{address}/32", "dev", interface)
        _run("ip", "link", "set", interface, "up")
        self.upstream = enter(Registry(self.directory / "upstream"))
        store = enter(Registry(self.directory / "store", caches=self.upstream.url))
        self.harbor = enter(
            ThreadedStandIn(HarborStandIn(host=address, forward={PROJECT: store.url}))
        )
        self.harbor_host = self.harbor.url.removeprefix("http://")
        self.cluster = enter(
            Cluster(
                self.directory / "cluster",
                binaries=find_binaries(PROGRAMS),
                flags=[
                    f"--service-cluster-ip-range={network}.0.0/16",
                    "--enable-aggregator-routing=true",
                ],
                audit=True,
                service_accounts=True,
            )
        )
        enter(_Forwarder((address, 443), ("127.0.0.1", self.cluster.port)))
        registries = {"docker.io": self.upstream.url, self.harbor_host: self.harbor.url}
        self.node = enter(
            Node(
                self.cluster,
                self.directory / "node",
                registries,
                # The product's image is too large to be copied for every container.
                snapshotter="overlayfs",
                routes=[f"{address}/32"],
            )
        )
        # What README pushes with docker; the node pulls it from there.
        _run(
            *("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"docker-archive:{image}"),
            f"docker://{self.upstream.host}/{NAME}:{__version__}",
        )

    def helm(self, *arguments: str) -> str:
        """
        Run helm on this cluster and return what it says.
        """
        result = helm(
            *arguments,
            "--namespace",
            NAMESPACE,
            "--kubeconfig",
            str(self.cluster.kubeconfig()),
        )
        if result.returncode:
            raise AssertionError(result.stdout + result.stderr)
        return result.stdout

    def install(self, *arguments: str) -> str:
        """
        Install as README tells it, with this site's names in place of its examples.
        """
        (command,) = commands("helm", "install")
        names = {
            "https://harbor-cache.example.com": self.harbor.url,
            "registry.example.com": self.upstream.host,
            "charts/harbor-cache-webhook": str(CHART),
        }
        for example, name in names.items():
            command = [word.replace(example, name) for word in command]
        return self.helm(*command[1:], *arguments)

    def upgrade(self, *arguments: str) -> str:
        return self.helm("upgrade", NAME, str(CHART), "--reuse-values", *arguments)

    def rewritten(self, image: str) -> str:
        return f"{self.harbor_host}/{PROJECT}/library/{image}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
