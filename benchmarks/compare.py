"""
Do Pods and pipelines run?  Four ways to pull, through two troubles, on a real node.

Ordinary Pods wait for their image; clients, as pipelines and some operators are, give up at the
first `ErrImagePull` that they see.  Both are created steadily, each with an image of its own, of
which Harbor has cached every other one before.  Prints a table, writes `build/compare.json`, and
with `--docs` puts the table into README.md.
"""

import argparse
import asyncio
import json
import math
import time

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import describe
from benchmarks.report import into_docs, table
from tests.support.kube.client import ApiClient
from tests.support.kube.controllers import Controller, started
from tests.support.kube.namespaces import namespaces
from tests.support.node.front import Trouble
from tests.support.node.images import push_images
from tests.support.node.site import Breakage, Site
from tests.support.node.workloads import is_running, is_stuck, pod
from webhook.config import parse_config
from webhook.render import files


_ROOT: Final = Path(__file__).parent.parent
_LONGEST: Final = 480.0
"""
How long Pods are waited for after the trouble has ended, in seconds: the kubelet's back-off is 300.
"""


class Way(Enum):
    """
    How images are pulled.
    """

    NOTHING = "no cache"
    NAIVE = "a webhook that always rewrites"
    HOSTS = "`hosts.toml` on the node"
    THIS = "**this**"


class Story(Enum):
    """
    What goes wrong while Pods are created.
    """

    OUTAGE = "Harbor is down"
    LIMIT = "the upstream answers 429"


@dataclass
class Result:
    """
    What became of the Pods and the clients of one run; waits in seconds.
    """

    clients: int
    failed: int
    waits: list[float]
    never: int
    pulls: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--docs", action="store_true", help="write README.md, too")
    parser.add_argument(
        "--pods", type=int, default=100, help="of each kind (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=180, help="of trouble (default: %(default)s)"
    )
    options = parser.parse_args()
    build = _ROOT / "build"
    build.mkdir(exist_ok=True)
    results: dict[str, Any] = {
        "machine": describe(),
        "pods": options.pods,
        "seconds": options.seconds,
    }
    for story in Story:
        for way in Way:
            began = time.monotonic()
            result = asyncio.run(_run(story, way, options.pods, options.seconds))
            results.setdefault("runs", {}).setdefault(story.value, {})[way.value] = asdict(result)
            print(f"... {story.value}, {way.value}: {time.monotonic() - began:.0f} s", flush=True)
            (build / "compare.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    text = _table(results)
    print(text)
    if options.docs:
        into_docs(_ROOT / "README.md", text, by="make compare")


async def _run(story: Story, way: Way, count: int, seconds: float) -> Result:
    # The defaults of the config file, not the quick probes of the tests.
    site = Site(sections={"probe": {}}, credulous=way is Way.NAIVE)
    with site:
        names = [f"library/image-{number}" for number in range(2 * count)]
        push_images(site.upstream.host, names)
        # Pods and clients take turns, so every second pair of them finds its image cached.
        site.warm([f"image-{n}:1" for n in range(2 * count) if n % 4 < 2])
        if way is Way.HOSTS:
            _mirror(site)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(ApiClient(site.cluster))
            make = await stack.enter_async_context(namespaces(client, service_accounts=True))
            namespace = await make("enforce" if way in (Way.NAIVE, Way.THIS) else None)
            if way is Way.THIS:
                await stack.enter_async_context(_controller(site))
            return await _tell(site, client, namespace, story, count, seconds)


@asynccontextmanager
async def _controller(site: Site) -> AsyncIterator[None]:
    kubeconfig = site.cluster.kubeconfig()
    made = Controller(site.directory, kubeconfig, "default", site.config)
    async with started(made) as running:
        await running.leads()
        yield


async def _tell(  # noqa: PLR0917
    site: Site, client: ApiClient, namespace: str, story: Story, count: int, seconds: float
) -> Result:
    before = _manifests(site)
    created: dict[str, float] = {}
    waits: list[float] = []
    failed: set[str] = set()
    ended = asyncio.Event()
    looking = asyncio.create_task(_look(client, namespace, created, waits, failed, ended))
    if story is Story.OUTAGE:
        site.break_harbor(Breakage.REFUSED)
    else:
        site.front.set_trouble(Trouble.LIMITED)
    began = time.monotonic()
    for number in range(2 * count):
        await _until(began + number * seconds / (2 * count))
        name = f"{'client' if number % 2 else 'pod'}-{number}"
        body = pod(namespace, f"image-{number}:1", name, restartPolicy="Never")
        created[name] = time.monotonic()
        (await client.create(body)).expect()
    await _until(began + seconds)
    site.repair()
    waited = sum(name.startswith("pod") for name in created)
    deadline = time.monotonic() + _LONGEST
    while len(waits) < waited and time.monotonic() < deadline:
        await asyncio.sleep(1)
    # Clients created last get their turn, too.
    await asyncio.sleep(5)
    ended.set()
    await looking
    return Result(
        count, len(failed), sorted(waits), waited - len(waits), _manifests(site) - before
    )


async def _look(  # noqa: PLR0917
    client: ApiClient,
    namespace: str,
    created: dict[str, float],
    waits: list[float],
    failed: set[str],
    ended: asyncio.Event,
) -> None:
    """
    Look at all Pods again and again; take away what runs, and the clients that have given up.
    """
    gone: set[str] = set()
    while not ended.is_set():
        found = (await client.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]
        now = time.monotonic()
        for each in found:
            name = each["metadata"]["name"]
            if name in gone or name not in created:
                continue
            is_client = name.startswith("client")
            if is_client and is_stuck(each):
                failed.add(name)
            elif is_running(each):
                if not is_client:
                    waits.append(now - created[name])
            else:
                continue
            gone.add(name)
            await client.delete(f"/api/v1/namespaces/{namespace}/pods/{name}")
        await asyncio.sleep(0.3)


def _mirror(site: Site) -> None:
    """
    Let containerd ask Harbor first, as `harbor-cache render containerd` has it.
    """
    # What is rendered is for HTTPS; this Harbor speaks plain HTTP.
    harbor = {"url": f"https://{site.harbor_host}"}
    config = parse_config(json.dumps({**site.config, "harbor": harbor}), {})
    [rendered] = [
        file
        for file in files("containerd", config)
        if str(file.path).endswith("certs.d/docker.io/hosts.toml")
    ]
    lines = rendered.text.replace("https://", "http://").splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("server"))
    lines[place] = f'server = "{site.front.url}"'
    hosts = site.node.directory / "registries" / "docker.io" / "hosts.toml"
    hosts.write_text("\n".join(lines) + "\n")


def _manifests(site: Site) -> int:
    return sum(n for kind, n in site.front.requests.items() if kind.endswith("manifest"))


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _table(results: dict[str, Any]) -> str:
    rows = []
    for story, runs in results["runs"].items():
        for way, run in runs.items():
            waits = run["waits"]
            rows.append(
                (
                    story,
                    way,
                    f"{run['failed']} of {run['clients']}",
                    *(f"{_part(waits, share):.0f} s" for share in (0.5, 0.99, 1)),
                    str(run["never"]),
                    str(run["pulls"]),
                )
            )
    facts = results["machine"]
    head = (
        f"{results['seconds'] / 60:g} minutes of trouble, {results['pods']} ordinary Pods and as "
        "many clients that give up at their first failed pull, created steadily, each with an "
        "image of its own; Harbor had every second image before. One real node "
        f"({facts['cores']} cores), default settings; made by `make compare`."
    )
    columns = ("", "", "clients failed", "Pods waited: p50", "p99", "longest", "never ran")
    return head + "\n\n" + table((*columns, "requests for manifests upstream"), rows)


def _part(waits: list[float], share: float) -> float:
    return waits[max(0, math.ceil(share * len(waits)) - 1)] if waits else math.nan


if __name__ == "__main__":
    main()
