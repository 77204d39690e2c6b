"""
The routes, over real sockets, with made-up knowledge.
"""

import asyncio
import gzip
import json
import sys

from io import BytesIO

import pytest
import structlog

from aiohttp import ClientConnectionError
from aiohttp.test_utils import RawTestServer

from webhook.config import default_config
from webhook.image.availability import Availability
from webhook.process.metrics import WebhookMetrics
from webhook.process.ops_routes import ops_handler
from webhook.server import limits
from webhook.server import routes as app_module
from webhook.server.limits import MAX_BODY_BYTES
from webhook.server.routes import Reviews


CONFIG = default_config()
ALL = Availability.of_all(tuple(registry.project for registry in CONFIG.registries))
JSON = {"Content-Type": "application/json"}
BODY = json.dumps(
    {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "6b1c",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": "default",
            "object": {
                "metadata": {"name": "p"},
                "spec": {
                    "containers": [
                        {"name": "a", "image": "nginx"},
                        {"name": "b", "image": "x\n\x1b[31m" + "y" * 1_000_000},
                    ]
                },
            },
        },
    }
).encode()


class Known:
    """
    A Harbor that is always there.
    """

    policy = CONFIG.policy

    def __init__(self):
        self.reason = ""

    def availability(self):
        return ALL

    def unready(self):
        return self.reason


@pytest.fixture
def service():
    return Reviews(Known(), WebhookMetrics())


@pytest.fixture
async def client(service, aiohttp_client):
    return await aiohttp_client(
        RawTestServer(service.handle), server_kwargs={"auto_decompress": False}
    )


@pytest.fixture
async def ops(service, aiohttp_client):
    registry = service.metrics.registry
    handler = ops_handler(registry, unready=str, status=dict)
    return await aiohttp_client(RawTestServer(handler))


async def test_enforce_patches_and_audit_does_not(client):
    """
    The path decides the mode, since a review does not say how its namespace is labelled.
    """
    enforced = await (await client.post("/mutate", data=BODY, headers=JSON)).json()
    audited = await (await client.post("/audit", data=BODY, headers=JSON)).json()

    assert "patch" in enforced["response"]
    assert "patch" not in audited["response"]
    assert audited["response"]["warnings"]


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (415, {"Content-Type": "text/plain"}, BODY),
        (415, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(BODY)),
        (400, JSON, b"not JSON"),
        (400, JSON, gzip.compress(BODY)),
        (400, JSON, b""),
        (400, JSON, b"{}"),
        (413, JSON, b" " * (MAX_BODY_BYTES + 1)),
    ],
)
async def test_what_is_no_review_gets_one_plain_sentence(client, status, headers, body):
    """
    The API server takes a 4xx as a failed call and admits the Pod; nobody sees a traceback.
    """
    answer = await client.post("/mutate", data=BytesIO(body), headers=headers)

    text = await answer.text()
    assert status == answer.status
    assert "Retry-After" not in answer.headers
    assert 1 == text.count("\n")
    assert "Traceback" not in text


async def test_a_body_without_length_is_cut_off_at_the_limit(client):
    """
    A body that never ends is refused when it passes the limit.
    """

    async def endless():
        while True:
            yield b" " * 65536

    try:
        answer = await client.post("/mutate", data=endless(), headers=JSON)
        status = answer.status
    except (ClientConnectionError, ConnectionResetError):
        status = 413  # The connection was closed while we were still sending.

    assert 413 == status


async def test_a_slow_body_is_given_up(client, monkeypatch):
    """
    Whoever sends half a body does not hold its memory for ever.
    """
    monkeypatch.setattr(limits, "READ_SECONDS", 0.2)

    async def half():
        yield b"{"
        await asyncio.sleep(5)

    answer = await client.post("/mutate", data=half(), headers=JSON)

    assert 408 == answer.status


async def test_promised_bodies_do_not_hold_up_others(service, aiohttp_client):
    """
    Many clients that announce a body and send a little of it hold no room that others need.
    """
    server = RawTestServer(service.handle)
    client = await aiohttp_client(server)
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    stalled = [await asyncio.open_connection(server.host, server.port) for _ in range(80)]
    for _, writer in stalled:
        writer.write(head + b"Content-Length: 262144\r\n\r\n{")
    await asyncio.sleep(0.2)

    answer = await client.post("/mutate", data=BODY[:100], headers=JSON)
    still_waiting = not any(reader.at_eof() for reader, _ in stalled)
    for _, writer in stalled:
        writer.transport.abort()

    assert 400 == answer.status
    assert still_waiting


async def test_a_small_body_that_stalls_is_given_up(client, monkeypatch):
    """
    Half a small body is waited for no longer than the API server would.
    """
    monkeypatch.setattr(limits, "SMALL_READ_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 9\r\n\r\n{")

    status = await reader.readline()
    writer.close()

    assert b"HTTP/1.1 408 Request Timeout\r\n" == status


async def test_a_client_that_goes_away_leaves_no_trace(client, caplog):
    """
    A connection lost in the middle of a body is nothing to write home about.
    """
    with structlog.testing.capture_logs() as logs:
        _, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 9\r\n\r\n{")
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await asyncio.sleep(0.2)

    assert [] == logs
    assert [] == caplog.records


async def test_a_client_that_waits_to_be_asked_is_asked(client):
    """
    Who sends ``Expect: 100-continue`` holds the body back until it is wanted.
    """
    answer = await client.post("/mutate", data=BODY[:100], headers=JSON, expect100=True)

    assert 400 == answer.status


async def test_wrong_methods_and_paths_are_4xx(client):
    """
    Everything else is answered in the same plain way.
    """
    assert 405 == (await client.get("/mutate")).status
    assert 404 == (await client.post("/", data=BODY, headers=JSON)).status


async def test_an_unforeseen_error_is_no_5xx(client, monkeypatch):
    """
    Even a bug in the shell lets the Pod through, without a word about our insides.
    """

    def explode(*args):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(app_module, "read_review", explode)

    answer = await client.post("/mutate", data=BODY, headers=JSON)

    assert 400 == answer.status
    assert "secret" not in await answer.text()


async def test_draining_answers_and_says_goodbye(client, service):
    """
    A Pod that is being deleted still answers, and sends its clients elsewhere.
    """
    before = await client.post("/mutate", data=BODY, headers=JSON)
    service.draining = True

    answer = await client.post("/mutate", data=BODY, headers=JSON)

    assert "Connection" not in before.headers
    assert 200 == answer.status
    assert "close" == answer.headers["Connection"]


async def test_metrics_count_reviews_and_images(client, ops):
    """
    Every review and every image is counted under its mode, outcome and reason.
    """
    await client.post("/mutate", data=BODY, headers=JSON)
    await client.post("/mutate", data=b"{}", headers=JSON)

    text = await (await ops.get("/metrics")).text()

    for line in (
        'harbor_cache_reviews_total{mode="enforce",operation="CREATE",outcome="rewritten"} 1.0',
        'harbor_cache_reviews_total{mode="enforce",operation="unknown",outcome="invalid"} 1.0',
        'harbor_cache_images_total{outcome="rewritten",reason="rule",registry="docker.io"} 1.0',
        'harbor_cache_images_total{outcome="kept",reason="too-long",registry="other"} 1.0',
        'harbor_cache_review_duration_seconds_count{mode="enforce"} 1.0',
    ):
        assert line in text


async def test_one_log_line_per_review_with_strings_cut(client):
    """
    A megabyte of image name with escapes in it becomes one short, harmless line.
    """
    with structlog.testing.capture_logs() as logs:
        await client.post("/mutate", data=BODY, headers=JSON)

    line = structlog.processors.JSONRenderer()(None, "info", logs[0])
    assert 1 == len(logs)
    assert len(line) < 2000
    assert line.isprintable()


async def test_the_log_names_each_image_with_its_reason(client):
    """
    What became of each image stands in the log, with the reason.
    """
    with structlog.testing.capture_logs() as logs:
        await client.post("/mutate", data=BODY, headers=JSON)

    assert [("a", "rewritten", "rule"), ("b", "kept", "too-long")] == [
        (image["name"], image["outcome"], image["reason"]) for image in logs[0]["images"]
    ]


async def test_an_answer_is_not_lost_for_what_is_counted_and_logged(client, service, monkeypatch):
    """
    Where counting fails, the answer is given all the same, with its patch.
    """

    def explode(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(service.metrics, "images_of", explode)

    with structlog.testing.capture_logs() as logs:
        answer = await client.post("/mutate", data=BODY, headers=JSON)

    assert "patch" in (await answer.json())["response"]
    assert ["review not counted"] == [line["event"] for line in logs]


def test_a_review_is_answered_from_memory(service):
    """
    Between a body and its answer nothing is asked of the network, a file or another program.

    Nothing waits, either.
    """
    outside = {"_socket", "socket", "_ssl", "ssl", "select", "posix", "_posixsubprocess", "_io"}
    called = []

    def note(_frame, event, function):
        if event != "c_call":
            return
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or type(owner).__module__
        if module in outside or (module, function.__name__) == ("time", "sleep"):
            called.append(f"{module}.{function.__name__}")

    with structlog.testing.capture_logs():
        service._answer(BODY, "enforce")  # What is loaded at the first one is there then.
        sys.setprofile(note)
        try:
            answer = service._answer(BODY.replace(b"nginx", b"redis"), "enforce")
        finally:
            sys.setprofile(None)

    assert "patch" in json.loads(answer.body)["response"]
    assert [] == called
