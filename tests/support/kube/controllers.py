"""
A controller in a process of its own, and Pods whose kubelet is played here.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time

from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.recovery_pods import creating, running, waiting
from webhook.demo.cluster import free_port
from webhook.pod.model import RECORD_PREFIX, REWRITTEN_LABEL


class Controller:
    """
    One process of `harbor-cache controller`; `environment` takes the place of ours.
    """

    def __init__(self, directory, kubeconfig, namespace, config, *arguments, environment=None):
        self.port = free_port()
        self.log = directory / f"controller-{self.port}.log"
        path = directory / "config.yaml"
        path.write_text(json.dumps(config))
        self.config_file = path
        self._command = [
            *(sys.executable, "-m", "webhook", "controller"),
            *("--config", path, "--kubeconfig", kubeconfig, "--namespace", namespace),
            *("--host", "127.0.0.1", "--ops-port", str(self.port)),
            *(arguments or ("--tls-mode", "none")),
        ]
        self._environment = environment
        self._process = None

    def start(self):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment
            )
        return self

    @property
    def pid(self):
        return self._process.pid

    def peak_bytes(self):
        """
        Return the most memory that the process has had so far.
        """
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def stop(self, number=signal.SIGTERM):
        """
        Send a signal, and return the exit code.
        """
        self._process.send_signal(number)
        return self._process.wait(20)

    def ensure_stopped(self):
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()  # It gives its Lease back, so that the next one need not wait.
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
            raise

    async def ask(self, path):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as response,
        ):
            return response.status, await response.text()

    async def status(self):
        return json.loads((await self.ask("/status"))[1])

    async def metric(self, name, **labels):
        """
        Return a metric's value; 0 where it is not there yet.
        """
        inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"harbor_cache_{name}{{{inner}}} " if inner else f"harbor_cache_{name} "
        for line in (await self.ask("/metrics"))[1].splitlines():
            if line.startswith(wanted):
                return float(line.removeprefix(wanted))
        return 0.0

    def events(self, name):
        """
        Return the log lines of one event; they are written in batches, a moment later.
        """
        time.sleep(0.1)
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if line.get("event") == name]

    async def leads(self):
        async def leading():
            return (await self.status())["leading"]

        await eventually(leading)
        return self


async def eventually(check, seconds=90.0, every=0.1):
    """
    Wait until *check* holds, and return what it returned.
    """
    last = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    found = await check()
                    if found:
                        return found
                except (aiohttp.ClientError, AssertionError) as error:
                    last = error
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(f"{check.__name__}: not within {seconds:g} s") from last


def config_for(harbor_url, **recovery):
    """
    Return a config with short times.
    """
    return {
        "apiVersion": "harbor-cache.io/v1",
        "kind": "Config",
        "harbor": {"url": harbor_url},
        "probe": {"interval": "200ms", "timeout": "500ms", "maxAge": "3s"},
        "recovery": {
            "afterUnavailable": "1s",
            "restoreAfter": "2s",
            "maxPatchesPerSecond": 50,
            **recovery,
        },
    }


class Pods:
    """
    Rewritten Pods in one namespace.
    """

    def __init__(self, client, namespace, harbor_url):
        self.client = client
        self.namespace = namespace
        self.host = harbor_url.partition("//")[2]

    def cached(self, image="library/nginx:1"):
        return f"{self.host}/proxy.docker.io/{image}"

    def path(self, name):
        return f"/api/v1/namespaces/{self.namespace}/pods/{name}"

    async def create(self, name, containers, *, records=None, init=(), node="node1"):
        """
        Create a Pod of *containers* (name → image), as the webhook would leave it.

        Without *records* it is as the webhook would leave it while Harbor is away.
        """
        ours = {"labels": {REWRITTEN_LABEL: "true"}} if records else {}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "annotations": {
                    RECORD_PREFIX + key: value for key, value in (records or {}).items()
                },
                **ours,
            },
            "spec": {
                "nodeName": node,
                "containers": [{"name": key, "image": i} for key, i in containers.items()],
                "initContainers": list(init),
            },
        }
        return (await self.client.create(body)).expect()

    async def report(self, name, statuses, init_statuses=(), phase="Pending"):
        """
        Write a Pod's status as its kubelet would.
        """
        status = {
            "phase": phase,
            "containerStatuses": [_complete(s) for s in statuses],
            "initContainerStatuses": [_complete(s) for s in init_statuses],
        }
        path = f"{self.path(name)}/status"
        (await self.client.patch(path, {"status": status}, kind="merge-patch")).expect()

    async def stuck(self, name, image=None, record="nginx:1", node="node1"):
        """
        Create a Pod whose one container can't pull its image.
        """
        image = image or self.cached()
        made = await self.create(name, {"web": image}, records={"web": record}, node=node)
        await self.report(name, [waiting("web", image)])
        return made

    async def images(self, name):
        spec = (await self.client.get(self.path(name)))["spec"]
        both = [*(spec.get("initContainers") or ()), *spec["containers"]]
        return {container["name"]: container["image"] for container in both}

    async def list(self):
        return (await self.client.get(f"/api/v1/namespaces/{self.namespace}/pods"))["items"]

    async def events(self, name):
        items = (await self.client.get(f"/api/v1/namespaces/{self.namespace}/events"))["items"]
        return [e["reason"] for e in items if e["involvedObject"]["name"] == name]


def _complete(status):
    return {"imageID": "", "ready": False, **status}


__all__ = ["Controller", "Pods", "config_for", "creating", "eventually", "running", "waiting"]


@asynccontextmanager
async def started(controller):
    """
    Run a controller until the end of the context; show its log if the test failed.
    """
    controller.start()
    try:
        yield controller
    except BaseException:
        print(controller.log.read_text()[-6000:])
        raise
    finally:
        await asyncio.to_thread(controller.ensure_stopped)
