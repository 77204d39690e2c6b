"""
One review's way through the code, as it is really taken, against the layers and the documentation.
"""

import re
import sys
import threading
import tomllib

from graphlib import TopologicalSorter
from pathlib import Path
from uuid import uuid4

import pytest

from aiohttp.test_utils import RawTestServer

from webhook.config import default_config
from webhook.image.availability import Availability
from webhook.process.metrics import WebhookMetrics
from webhook.server.routes import Reviews


ROOT = Path(__file__).parents[2]
CONFIG = default_config()


class Known:
    policy = CONFIG.policy
    known = Availability.of_all(tuple(rule.project for rule in CONFIG.rules.rules))

    def availability(self):
        return self.known


class Calls:
    """
    Notes which module of the product calls which other one, in the order of the first calls.
    """

    def __init__(self):
        self.seen = {}
        self._thread = threading.get_ident()

    def note(self, frame, event, _argument):
        if event != "call" or threading.get_ident() != self._thread:
            return
        called = self._module(frame)
        caller = frame.f_back
        while called and caller and not self._module(caller):
            caller = caller.f_back
        if called and caller and self._module(caller) != called:
            self.seen[self._module(caller), called] = None

    @staticmethod
    def _module(frame):
        name = frame.f_globals.get("__name__", "")
        return name.removeprefix("webhook.") if name.startswith("webhook.") else ""


def new_review():
    """
    Return a review of an image that nobody has looked at before.
    """
    request = {
        "uid": "6b1c",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "default",
        "object": {"spec": {"containers": [{"name": "a", "image": f"acme/{uuid4()}:1"}]}},
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@pytest.fixture
async def calls(aiohttp_client):
    reviews = Reviews(Known(), WebhookMetrics())
    client = await aiohttp_client(RawTestServer(reviews.handle))
    calls = Calls()
    sys.setprofile(calls.note)
    try:
        response = await client.post("/mutate", json=new_review())
        answer = await response.json()
    finally:
        sys.setprofile(None)
    assert "patch" in answer["response"]
    return list(calls.seen)


def layers():
    """
    Return the rank of each package, lowest first, and the packages that may not call each other.
    """
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    order = next(c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    return {
        package.strip().removeprefix("webhook."): rank
        for rank, layer in enumerate(reversed(order))
        for package in re.split(r"[|:]", layer)
    }


async def test_calls_of_a_review_follow_the_layers(calls):
    """
    Whoever calls stands above whoever is called, or in the same package.
    """
    rank = layers()
    wrong = [
        (caller, called)
        for caller, called in calls
        if (above := caller.split(".")[0]) != (below := called.split(".")[0])
        and rank[above] <= rank[below]
    ]

    assert [] == wrong


async def test_calls_of_a_review_form_no_circle(calls):
    """
    No module is called, however indirectly, by what it calls itself.
    """
    graph = {}
    for caller, called in calls:
        graph.setdefault(caller, set()).add(called)

    assert list(TopologicalSorter(graph).static_order())


async def test_the_documentation_tells_these_calls(calls):
    """
    The picture in docs/architecture.md shows each call between two modules, and no other.
    """
    print("\n".join(f"    {caller} --> {called}" for caller, called in calls))
    page = (ROOT / "docs/architecture.md").read_text()
    picture = re.search(r"```mermaid\n(.*?)```", page, re.DOTALL)[1]
    told = re.findall(r"([\w.]+) --> ([\w.]+)", picture)

    assert sorted(calls) == sorted(told)
