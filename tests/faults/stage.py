"""
What the faults happen to: an API server, two replicas behind a balancer, and a Harbor.

Pods are created without pause all the while, half of them with an image of Docker Hub, half with
one of quay.io.
"""

import asyncio
import base64
import time

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import trustme

from tests.support.kube.balancer import Backend, Balancer
from tests.support.kube.client import ApiClient
from tests.support.kube.registration import registered, webhook_configuration
from tests.support.kube.webhook import WebhookProcess, configuration
from webhook.demo.cluster import Cluster
from webhook.demo.standin import HarborStandIn, ThreadedStandIn


__all__ = ["Stage", "Tally", "open_stage"]

IMAGES = {"hub": "nginx:1", "quay": "quay.io/a/b:1"}
_NAMESPACE = "faults"
_PAUSE = 0.01
_SETTLED = 1.0
# The registration gives the webhook 2 seconds; nothing else here takes anywhere near as long.
_TIMEOUT = 1.9
_PROBE = {"interval": "0.5s", "timeout": "1s", "failureThreshold": 2, "maxAge": "5s"}


@dataclass
class Tally:
    """
    What became of the Pods that were created during one fault.

    Attributes:
        created: Pods that the API server took.
        refused: Pods that it did not take; every one is a broken promise.
        rewritten: images that lead to Harbor.
        unreachable: attempts that found no API server.
        waited: Pods whose creation took as long as the webhook's timeout.
        waited_kept: those of them that were created unchanged.
        longest: the longest creation in seconds.
        last: for each kind of image, whether the last one was rewritten.
    """

    created: int = 0
    refused: int = 0
    rewritten: int = 0
    unreachable: int = 0
    waited: int = 0
    waited_kept: int = 0
    longest: float = 0.0
    last: dict[str, bool] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """
        Pods that were created unchanged.
        """
        return self.created - self.rewritten


@dataclass
class Stage:
    """
    All that runs, and how to wait for what it does.
    """

    cluster: Cluster
    client: ApiClient
    harbor: ThreadedStandIn
    authority: trustme.CA
    replicas: list[WebhookProcess]
    balancer: Balancer
    tally: Tally = field(default_factory=Tally)
    handshakes: int = 0

    @asynccontextmanager
    async def creating(self) -> AsyncIterator[Tally]:
        """
        Create Pods for as long as the context lasts.
        """
        self.tally = Tally()
        done = asyncio.Event()
        creators = [asyncio.create_task(self._create(kind, done)) for kind in IMAGES]
        try:
            await self.until(lambda last: last == dict.fromkeys(IMAGES, True))
            yield self.tally
        finally:
            done.set()
            await asyncio.gather(*creators)

    async def until(
        self, condition: Callable[[dict[str, bool]], bool], within: float = 30.0
    ) -> float:
        """
        Wait until the last Pods fulfil *condition*; return the seconds that it took.

        It has to hold for a while: the replicas judge by themselves, one earlier than the other.
        """
        started = since = time.monotonic()
        while (now := time.monotonic()) - since < _SETTLED:
            if not condition(self.tally.last):
                since = now
                if now - started > within:
                    raise TimeoutError(f"after {within:.0f} s, rewritten: {self.tally.last}")
            await asyncio.sleep(0.005)
        return since - started

    async def until_kept(self) -> float:
        """
        Wait until neither image is rewritten.
        """
        return await self.until(lambda last: not any(last.values()))

    async def until_rewritten(self) -> float:
        """
        Wait until both images are rewritten.
        """
        return await self.until(lambda last: all(last.values()))

    async def stays(self, seconds: float, **expected: bool) -> None:
        """
        Check that for some seconds the images named are all rewritten (True) or all kept (False).
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kind, rewritten in expected.items():
                if self.tally.last[kind] is not rewritten:
                    word = "kept" if rewritten else "rewritten"
                    raise AssertionError(f"a Pod with an image of {kind} was {word}")
            await asyncio.sleep(0.005)

    @contextmanager
    def missing_none(self) -> Iterator[None]:
        """
        Check that every Pod that is created while the context lasts is rewritten.
        """
        before = self.tally.kept
        yield
        if missed := self.tally.kept - before:
            raise AssertionError(f"{missed} Pods were not rewritten")

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """
        Check that each replica refuses a file that changes while the context lasts.
        """
        before = await asyncio.to_thread(self._refused_files)
        yield
        after = await asyncio.to_thread(self._refused_files)
        if not all(old < new for old, new in zip(before, after, strict=True)):
            raise AssertionError(f"files refused by each replica: {before}, then {after}")

    def _refused_files(self) -> list[float]:
        name = 'harbor_cache_config_reload_total{result="refused"} '
        pages = [each.read("/metrics") for each in self.replicas]
        return [float(page.partition(name)[2].split("\n", 1)[0]) for page in pages]

    async def _create(self, kind: str, done: asyncio.Event) -> None:
        tally = self.tally
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "pod-", "namespace": _NAMESPACE},
            "spec": {"containers": [{"name": "web", "image": IMAGES[kind]}]},
        }
        while not done.is_set():
            started = time.monotonic()
            try:
                answer = await self.client.create(pod)
            except (aiohttp.ClientError, ConnectionError):
                tally.unreachable += 1
                await asyncio.sleep(0.1)
                continue
            seconds = time.monotonic() - started
            tally.longest = max(tally.longest, seconds)
            if answer.ok:
                rewritten = answer.body["spec"]["containers"][0]["image"] != IMAGES[kind]
                tally.created += 1
                tally.rewritten += rewritten
                tally.last[kind] = rewritten
                if seconds > _TIMEOUT:
                    tally.waited += 1
                    tally.waited_kept += not rewritten
            elif answer.status in (429, 503) and not self.cluster.api_server.running:
                tally.unreachable += 1
            else:
                tally.refused += 1
                tally.refusals.append(f"{answer.status}: {str(answer.body)[:300]}")
            await asyncio.sleep(_PAUSE)

    async def set_ca_bundle(self, bundle: bytes) -> None:
        """
        Change the certificate authorities by which the API server knows the webhook.
        """
        path = (
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"
            "harbor-cache-webhook"
        )
        value = base64.b64encode(bundle).decode()
        patch = [
            {"op": "replace", "path": f"/webhooks/{n}/clientConfig/caBundle", "value": value}
            for n in (0, 1)
        ]
        (await self.client.patch(path, patch, kind="json-patch")).expect()

    async def shake_hands_again(self) -> None:
        """
        Make the API server open new connections.

        Another bundle, if only by a line end, is another client to it.
        """
        self.handshakes += 1
        await self.set_ca_bundle(self.authority.cert_pem.bytes() + b"\n" * self.handshakes)
        await asyncio.sleep(1)

    async def restart(self, replica: WebhookProcess) -> None:
        """
        Restart a replica, and wait until all are ready.
        """
        await asyncio.to_thread(replica.stop)
        await asyncio.to_thread(replica.start)
        await self.balancer.all_ready()


@asynccontextmanager
async def open_stage(directory: Path) -> AsyncIterator[Stage]:
    """
    Start everything in *directory*, and stop it at the end.
    """
    authority = trustme.CA()
    with (
        Cluster(directory / "cluster") as cluster,
        ThreadedStandIn(HarborStandIn(strict=False)) as harbor,
    ):
        replicas = [
            WebhookProcess(
                directory / f"replica-{number}",
                configuration(harbor.url, probe=_PROBE),
                authority,
                drain_seconds=1.0,
            )
            for number in range(2)
        ]
        backends = [Backend(each.port, f"{each.ops_url}/readyz") for each in replicas]
        try:
            await asyncio.gather(*(asyncio.to_thread(each.start) for each in replicas))
            async with ApiClient(cluster) as client, Balancer(backends) as balancer:
                await balancer.all_ready()
                labels = {"harbor-cache.io/mode": "enforce"}
                namespace = {"name": _NAMESPACE, "labels": labels}
                thing = {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace}
                (await client.apply(thing)).expect()
                url = f"https://127.0.0.1:{balancer.port}"
                bundle = authority.cert_pem.bytes()
                async with registered(client, webhook_configuration(url, bundle)):
                    yield Stage(cluster, client, harbor, authority, replicas, balancer)
        finally:
            for each in replicas:
                await asyncio.to_thread(each.program.kill)
