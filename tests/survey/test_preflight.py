"""
How nodes pull, as their kubelets tell it through the API server.
"""

from contextlib import asynccontextmanager

from tests.support.kube.lists import Response, as_kubernetes_writes
from webhook.errors import ClusterError
from webhook.survey import NodePulls
from webhook.survey.preflight import node_pulls


CONFIGZ = {
    "serial": {"kubeletconfig": {"serializeImagePulls": True}},
    "silent": {"kubeletconfig": {}},
    "parallel": {"kubeletconfig": {"serializeImagePulls": False, "maxParallelImagePulls": 4}},
    "unlimited": {"kubeletconfig": {"serializeImagePulls": False}},
}


class _Nodes:
    """
    An API server that has some nodes.
    """

    def __init__(self, *names):
        self.names = names

    @asynccontextmanager
    async def stream(self, path, query):
        items = [{"metadata": {"name": name}} for name in self.names]
        yield Response(as_kubernetes_writes({"metadata": {}, "items": items}))

    async def get(self, path):
        name = path.split("/")[4]
        if name not in CONFIGZ:
            raise ClusterError("nodes is forbidden", 403)
        return CONFIGZ[name]


async def test_every_node_tells_how_it_pulls():
    """One at a time is the kubelet's default; without a limit there is no number."""
    unseen = []
    found = await node_pulls(_Nodes(*CONFIGZ), unseen)

    assert [
        NodePulls("serial", 1),
        NodePulls("silent", 1),
        NodePulls("parallel", 4),
        NodePulls("unlimited", None),
    ] == found
    assert [] == unseen


async def test_what_may_not_be_asked_is_said_once():
    """Nodes that can't be asked for the same reason are one line among what was not seen."""
    unseen = []
    found = await node_pulls(_Nodes("serial", "a", "b", "c"), unseen)

    assert [NodePulls("serial", 1)] == found
    assert [("how a and 2 others pull", "nodes is forbidden")] == [(u.what, u.why) for u in unseen]
