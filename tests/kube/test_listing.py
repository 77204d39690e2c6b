"""
Lists and watches out of bytes, without an API server.
"""

import tracemalloc

from contextlib import asynccontextmanager

import pytest

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.kube.lists import Response, as_kubernetes_writes
from webhook.errors import ClusterError
from webhook.kube import listing
from webhook.kube.listing import Change, Head, Listing, watch


LARGE = "<" * 200_000
TEXTS = st.text(st.sampled_from('a"\\{}[],:\n<é😀'), max_size=12)
OBJECTS = st.lists(
    st.fixed_dictionaries(
        {"metadata": st.fixed_dictionaries({"name": TEXTS}), "spec": st.dictionaries(TEXTS, TEXTS)}
    ),
    max_size=6,
)


class Api:
    """
    Pods in pages, as an API server gives them; *answers* come before.
    """

    url = "https://kube"

    def __init__(self, pods=(), *answers, piece=65536):
        self.pods = list(pods)
        self.answers = list(answers)
        self.queries = []
        self.piece = piece

    @asynccontextmanager
    async def stream(self, path, query, *, silence=None):
        self.queries.append(query)
        yield self.answers.pop(0) if self.answers else self._page(query)

    def _page(self, query):
        start = int(query.get("continue", 0))
        end = start + int(query["limit"])
        rest = {"continue": str(end)} if end < len(self.pods) else {}
        body = {
            "kind": "PodList",
            "metadata": {"resourceVersion": "7", **rest},
            "items": self.pods[start:end],
        }
        return Response(as_kubernetes_writes(body), piece=self.piece)


def pod(number, padding=""):
    """
    Return a Pod with its members in Kubernetes' order.
    """
    metadata = {
        "name": f"web-{number}",
        "generateName": "web-",
        "namespace": "shop",
        "uid": f"uid-{number}",
        "resourceVersion": str(number),
        "annotations": {"name": padding, '"}': '{"\\'},
    }
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}


async def listed(api, *, large=None):
    """
    Return the names of the Pods that are listed, and the version.
    """
    told = [] if large is None else large
    pods = Listing(api, "/api/v1/pods", too_large=told.append)
    names = [pod["metadata"]["name"] async for pod in pods]
    return names, pods.version


def names(numbers):
    """
    Return the names of some of the Pods.
    """
    return [f"web-{number}" for number in numbers]


@given(OBJECTS, st.integers(1, 400))
@settings(max_examples=60, deadline=None)
async def test_any_objects_in_any_pieces(objects, piece):
    """
    What stands in strings, and where a piece ends, makes no difference.
    """
    listing._PIECE, before = min(piece, 64), listing._PIECE
    try:
        pods = Listing(Api(objects, piece=piece), "/api/v1/pods")

        assert objects == [item async for item in pods]
        assert "7" == pods.version
    finally:
        listing._PIECE = before


@pytest.mark.parametrize("items", [b"null", b"[]", b" [ ]"])
async def test_an_empty_list(items):
    """
    Nothing is listed, and the version is known nevertheless.
    """
    body = b'{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":%s}\n' % items

    assert ([], "9") == await listed(Api((), Response(body)))


@pytest.mark.parametrize("piece", [1001, 10_000_000])
@pytest.mark.parametrize("padding", [LARGE, "\\" * 700_000, '"' * 700_000, '{["}' * 400_000])
async def test_large_pods_are_passed_over(padding, piece):
    """
    They are told by name, and the small ones between and behind them are listed.
    """
    pods = [pod(n, padding if n % 3 == 1 else "") for n in range(8)]
    large = []

    found, version = await listed(Api(pods, piece=piece), large=large)

    assert names(n for n in range(8) if n % 3 != 1) == found
    assert "7" == version
    assert [Head("shop", f"web-{n}", f"uid-{n}", str(n)) for n in (1, 4, 7)] == large


async def test_pages_shrink_after_a_large_one_and_grow_again(monkeypatch):
    """
    A page that brings too much is broken off and asked for again, smaller; no Pod comes twice.
    """
    monkeypatch.setattr(listing, "_PAGE_BYTES", 300_000)
    monkeypatch.setattr(listing, "_MOST_PAGE_BYTES", 1_200_000)
    pods = [pod(n, "x" * 100_000 if n < 40 else "") for n in range(600)]
    api = Api(pods)

    found, _ = await listed(api)

    assert names(range(600)) == found
    limits = [int(query["limit"]) for query in api.queries]
    assert 500 == limits[0]
    assert 3 >= min(limits)
    assert 100 < limits[-1]


async def test_a_snapshot_that_is_gone():
    """
    The API server gives a token to go on with; without one that is an error.
    """
    expired = {"code": 410, "message": "expired"}
    token = as_kubernetes_writes({**expired, "metadata": {"continue": "2"}})
    first = as_kubernetes_writes({"metadata": {"continue": "1"}, "items": [pod(0)]})
    pods = [pod(n) for n in range(4)]

    api = Api(pods, Response(first), Response(token, 410))
    assert names([0, 2, 3]) == (await listed(api))[0]

    api = Api(pods, Response(first), Response(as_kubernetes_writes(expired), 410))
    with pytest.raises(ClusterError, match="expired") as caught:
        await listed(api)
    assert 410 == caught.value.status


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":{},"items":[{"metadata":{"name":"a"}}',
        b'{"metadata":{},"items":[{"metadata":{"name":"',
        b'{"metadata":{}}',
        b"<html>",
        b"",
        b'{"metadata":{},"items":[{"metadata":{"name":"' + b"x" * 3_000_000,
    ],
)
async def test_a_list_that_breaks_off(body):
    """
    Half a list is never taken for a whole one.
    """
    with pytest.raises(ClusterError, match=r"breaks off|is no list"):
        await listed(Api((), Response(body)))


@pytest.mark.parametrize("piece", [7, 65536])
async def test_a_watch(piece):
    """
    Of a large object the head comes, with the version to go on from; an error ends it.
    """
    events = [
        {"type": "ADDED", "object": pod(1)},
        {"type": "MODIFIED", "object": {"kind": "Pod", "apiVersion": "v1", **pod(2, LARGE)}},
        {"type": "DELETED", "object": {"kind": "Pod", "apiVersion": "v1", **pod(3, LARGE)}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
        {"type": "ERROR", "object": {"code": 410, "message": "too old"}},
    ]
    body = b"\n".join(as_kubernetes_writes(event) for event in events)
    changes = watch(Api((), Response(body + b"\n", piece=piece)), "/pods", "1")
    found = [await anext(changes) for _ in range(4)]
    with pytest.raises(ClusterError, match="too old"):
        await anext(changes)

    assert [
        Change("ADDED", Head("shop", "web-1", "uid-1", "1"), pod(1)),
        Change("MODIFIED", Head("shop", "web-2", "uid-2", "2"), None),
        Change("DELETED", Head("shop", "web-3", "uid-3", "3"), None),
        Change("BOOKMARK", Head("", "", "", "9"), events[3]["object"]),
    ] == found


@pytest.mark.parametrize("line", [b"<html>\n", b"{}\n", b"[]\n", b"x" * 3_000_000 + b"\n"])
async def test_a_watch_that_brings_no_events(line):
    """
    Whatever else answers is an error, and no crash.
    """
    with pytest.raises(ClusterError, match="brings no events"):
        async for _ in watch(Api((), Response(line)), "/pods", "1"):
            pass


async def test_memory_does_not_grow_with_the_number_of_pods():
    """
    Four times as many Pods are listed in the same memory.
    """
    peaks = []
    for count in (1500, 6000):
        pods = Listing(Endless(count), "/api/v1/pods")
        tracemalloc.start()
        listed_pods = sum([1 async for _ in pods])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == listed_pods

    assert peaks[1] < 1.1 * peaks[0]


class Endless(Api):
    """
    Pods that are made when they are asked for.
    """

    def __init__(self, count):
        super().__init__()
        self.count = count

    def _page(self, query):
        start = int(query.get("continue", 0))
        end = min(start + int(query["limit"]), self.count)
        self.pods = [pod(number, "x" * 3000) for number in range(start, end)]
        more = {"continue": str(end)} if end < self.count else {}
        body = {"metadata": {"resourceVersion": "7", **more}, "items": self.pods}
        return Response(as_kubernetes_writes(body))
