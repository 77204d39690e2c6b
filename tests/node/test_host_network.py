"""
An upgrade on the nodes' own network, by a real scheduler: three Pods, and three nodes' ports.
"""

import asyncio
import contextlib
import time

import pytest

from tests.support.helm import NAMESPACE
from tests.support.kube.client import ApiClient
from tests.support.kube.controllers import eventually
from tests.support.kube.installed import NAME, installed
from tests.support.node.site import PROGRAMS
from webhook.demo.cluster import Cluster, find_binaries
from webhook.demo.program import Program


pytestmark = [pytest.mark.node, pytest.mark.slow]

_NODES = 3
_CAPACITY = {"cpu": "4", "memory": "8Gi", "pods": "110"}
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
_VALUES = (
    "--set",
    f"webhook.hostNetwork=true,webhook.port=10260,webhook.opsPort=8081,webhook.replicas={_NODES}",
)


@pytest.fixture
async def client(tmp_path, _equipped):
    """
    Provide a client of a cluster with three nodes, whose kubelets are played.
    """
    binaries = find_binaries(PROGRAMS)
    with (
        Cluster(tmp_path / "cluster", binaries=binaries) as cluster,
        contextlib.ExitStack() as stack,
    ):
        kubeconfig = f"--kubeconfig={cluster.kubeconfig()}"
        common = (kubeconfig, "--leader-elect=false", "--secure-port=0")
        # No others: the one for nodes would miss the heartbeats of kubelets.
        controllers = "--controllers=deployment-controller,replicaset-controller"
        for name, *options in (("kube-controller-manager", controllers), ("kube-scheduler",)):
            program = Program([binaries / name, *common, *options], log=tmp_path / f"{name}.log")
            program.start()
            stack.callback(program.stop)
        async with ApiClient(cluster) as opened:
            for number in range(_NODES):
                await _join(opened, f"node-{number}")
            playing = asyncio.create_task(_play(opened))
            yield opened
            playing.cancel()


async def _join(client, name):
    labels = {"kubernetes.io/hostname": name}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    (await client.create(node)).expect()
    status = {
        "capacity": _CAPACITY,
        "allocatable": _CAPACITY,
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    path = f"/api/v1/nodes/{name}"
    (await client.patch(f"{path}/status", {"status": status})).expect()
    (await client.patch(path, {"spec": {"taints": None}}, kind="merge-patch")).expect()


async def _play(client):
    """
    Play the kubelets: what is bound runs and is ready, what is deleted goes.
    """
    ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
    while True:
        for pod in (await client.get(_PODS))["items"]:
            path = f"{_PODS}/{pod['metadata']['name']}"
            if pod["metadata"].get("deletionTimestamp"):
                await client.delete(path)
            elif pod["spec"].get("nodeName") and pod["status"]["phase"] == "Pending":
                status = {"phase": "Running", "conditions": ready}
                await client.patch(f"{path}/status", {"status": status})
        await asyncio.sleep(0.2)


async def test_an_upgrade_finds_free_ports(client):
    """
    Every node's port is taken, and still the new Pods come, while all but one serve.
    """

    async def rolled_out():
        deployment = await client.get(_DEPLOYMENT)
        status = deployment["status"]
        serving.append(status.get("availableReplicas", 0))
        return (
            status.get("observedGeneration") == deployment["metadata"]["generation"]
            and status.get("updatedReplicas") == status.get("availableReplicas") == _NODES
            and status.get("replicas") == _NODES
        )

    serving = []
    async with installed(client, *_VALUES):
        await eventually(rolled_out)
        serving.clear()
        annotation = {"harbor-cache.io/upgraded": "true"}
        template = {"spec": {"template": {"metadata": {"annotations": annotation}}}}
        (await client.patch(_DEPLOYMENT, template)).expect()
        began = time.monotonic()
        await eventually(rolled_out)
        pods = [
            pod
            for pod in (await client.get(_PODS))["items"]
            if "harbor-cache.io/upgraded" in pod["metadata"].get("annotations", {})
        ]
    print(f"an upgrade on the nodes' network: {time.monotonic() - began:.1f} s")

    assert _NODES == len({pod["spec"]["nodeName"] for pod in pods})
    assert min(serving) >= _NODES - 1
