"""
All that a Pod needs to be pulled through a cache, on one machine: see README.md beside this file.
"""

import asyncio
import secrets
import shutil
import subprocess
import tempfile
import time

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Any, Final, Self

import trustme

from tests.support.kube.client import ApiClient
from tests.support.kube.registration import TRIAL_NAMESPACE, register, webhook_configuration
from tests.support.kube.webhook import WebhookProcess, configuration
from tests.support.node.front import Front, Trouble
from tests.support.node.images import push_image
from tests.support.node.node import Node
from tests.support.node.registry import Registry
from webhook.demo.cluster import CONTROL_PLANE, Cluster, find_binaries
from webhook.demo.standin import Fault, HarborStandIn, ThreadedStandIn


__all__ = ["PROGRAMS", "PROJECT", "Breakage", "Site"]

PROGRAMS: Final = (*CONTROL_PLANE, "kube-controller-manager", "kube-scheduler", "kubelet")
PROJECT: Final = "proxy.docker.io"


class Breakage(Enum):
    """
    The ways in which Harbor dies.
    """

    REFUSED = Fault.REFUSED
    HUNG = Fault.HANG
    NOT_FOUND = Fault.NOT_FOUND


class Site:
    """
    A cluster with one node, an upstream registry, a Harbor that caches it, and the webhook.

    `sections` go into the webhook's config; `users` are further users of the API server.  With
    `credulous` the webhook's probes go to another Harbor, which is always well; `disk` is the size
    of the node's disk for images; `kubelet_options` are the kubelet's.  All of it is in one
    temporary directory, which is removed at the end unless `keep` was set.
    """

    def __init__(
        self,
        *,
        sections: dict[str, Any] | None = None,
        users: dict[str, tuple[str, ...]] | None = None,
        credulous: bool = False,
        disk: str = "",
        kubelet_options: Sequence[str] = (),
    ) -> None:
        self.keep = False
        self.directory = Path(tempfile.mkdtemp(prefix="site-"))
        self.upstream = Registry(self.directory / "upstream")
        self.front = Front(self.upstream.url)
        self.store = Registry(self.directory / "store", caches=self.front.url)
        self.harbor = ThreadedStandIn(HarborStandIn(forward={PROJECT: self.store.url}))
        self.quarantine_file = self.directory / "quarantine.json"
        self._sections = sections or {}
        self._users = users
        self._credulous = credulous
        self._disk = disk
        self._kubelet_options = kubelet_options
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
        enter = self._stack.enter_context
        enter(self.upstream)
        enter(self.front)
        enter(self.store)
        enter(self.harbor)
        self.harbor_host = self.harbor.url.removeprefix("http://")
        self.config = configuration(self.harbor.url, **self._sections)
        if self._credulous:
            self.config["harbor"]["apiUrl"] = enter(ThreadedStandIn()).url
        self.webhook = enter(
            WebhookProcess(
                self.directory / "webhook",
                self.config,
                trustme.CA(),
                options=(f"--quarantine={self.quarantine_file}",),
            )
        )
        self.cluster = enter(
            Cluster(
                self.directory / "cluster",
                binaries=find_binaries(PROGRAMS),
                users=self._users,
                audit=True,
                service_accounts=True,
            )
        )
        registries = {"docker.io": self.front.url, self.harbor_host: self.harbor.url}
        self.node = enter(
            Node(
                self.cluster,
                self.directory / "node",
                registries,
                disk=self._disk,
                kubelet_options=self._kubelet_options,
            )
        )
        # In a thread: a test that starts a site has an event loop of its own.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(self._register())).result()

    async def _register(self) -> None:
        async with ApiClient(self.cluster) as client:
            await register(client, webhook_configuration(self.webhook.url, self.webhook.ca_bundle))
            await self.wait_until_rewriting(client)

    def push(self, name: str = "web") -> str:
        """
        Push an image of its own to the upstream; return the short reference for a Pod.
        """
        repository = f"{name}-{secrets.token_hex(4)}"
        push_image(self.upstream.host, f"library/{repository}:1")
        return f"{repository}:1"

    def warm(self, images: Sequence[str]) -> None:
        """
        Let Harbor pull these short references once, so that it has them.
        """
        for image in images:
            source = f"docker://{self.cached(image)}"
            command = ("skopeo", "copy", "--quiet", "--src-tls-verify=false", source)
            target = f"dir:{self.directory}/warm"
            subprocess.run([*command, target], check=True, capture_output=True)

    def cached(self, image: str) -> str:
        """
        Return what the webhook makes of a short reference of Docker Hub.
        """
        return f"{self.harbor_host}/{PROJECT}/library/{image}"

    def break_harbor(self, breakage: Breakage) -> None:
        """
        Let Harbor die; containerd and the probes see it at once.
        """
        self.harbor.set_fault(breakage.value)

    def repair(self) -> None:
        """
        Bring Harbor back, with what it had cached, and the upstream.
        """
        self.harbor.set_fault(Fault.NONE)
        self.harbor.harbor.pull_faults.clear()
        self.front.slow = 0.0
        self.front.of.clear()
        self.front.set_trouble(Trouble.NONE)

    async def wait_until_rewriting(
        self, client: ApiClient, *, rewriting: bool = True, within: float = 30.0
    ) -> float:
        """
        Wait until the webhook takes Harbor as available, or not; return how many seconds it took.
        """
        started = time.monotonic()
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "trial", "namespace": TRIAL_NAMESPACE},
            "spec": {"containers": [{"name": "trial", "image": "trial:1"}]},
        }
        while time.monotonic() < started + within:
            answer = await client.create(pod, dry_run=True)
            image = answer.expect()["spec"]["containers"][0]["image"]
            if image.startswith(self.harbor_host) is rewriting:
                return time.monotonic() - started
            await asyncio.sleep(0.1)
        raise TimeoutError(f"Not {'rewriting' if rewriting else 'keeping'} after {within} s.")
