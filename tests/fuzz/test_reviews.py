import base64
import json
import os
import time

from collections import Counter
from copy import deepcopy
from io import BytesIO
from random import Random

import jsonpatch
import pytest
import structlog

from aiohttp.test_utils import RawTestServer

from tests.fuzz.reviews import damaged
from tests.support.oracles import PatchOracle
from webhook.admission.answers import Answers
from webhook.admission.review import read_review
from webhook.config import Config
from webhook.image.availability import Availability
from webhook.process.metrics import WebhookMetrics
from webhook.server.routes import Reviews


# `make fuzz` sets it to a hundred thousand.
REVIEWS = int(os.environ.get("REVIEWS", "1500"))

HARBOR = "harbor.example:8443"
PLACES = ("containers", "initContainers", "ephemeralContainers", "volumes")
RECORD = "original.harbor-cache.io/"
LABEL = "harbor-cache.io/rewritten"
CONFIG = Config.model_validate(
    {
        "apiVersion": "harbor-cache.io/v1",
        "kind": "Config",
        "harbor": {"url": f"https://{HARBOR}"},
        "images": {"volumes": True, "ephemeralContainers": True},
        "pullSecrets": ["harbor-pull", "second"],
    }
)


class Known:
    """
    A webhook's knowledge while Harbor and all projects are fine.
    """

    policy = CONFIG.policy

    def availability(self):
        return Availability.of_all(tuple(rule.project for rule in self.policy.rules.rules))

    def status(self):
        return {}

    def unready(self):
        return ""


@pytest.fixture(autouse=True)
def silent():
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def patch_oracle():
    with PatchOracle() as running:
        yield running


async def test_damaged_reviews(aiohttp_client, patch_oracle):
    """
    Whatever is sent, the answer is 200 and allowed, or 4xx; a patch applies and changes images only.
    """
    server = RawTestServer(Reviews(Known(), WebhookMetrics()).handle)
    await server.start_server(auto_decompress=False)
    client = await aiohttp_client(server)
    random = Random(REVIEWS)
    seen = Counter()
    started = time.monotonic()
    for number in range(REVIEWS):
        message = damaged(random)
        headers = {"Content-Type": "application/json"} | message.headers
        async with client.post(
            message.path, data=BytesIO(message.body), headers=headers
        ) as response:
            answer = await response.read()
            status = response.status
        try:
            seen[_judge(message, status, answer, patch_oracle)] += 1
        except Exception as error:
            error.add_note(f"review {number} of {REVIEWS}: {message.path} {message.body[:3000]!r}")
            raise
    seconds = time.monotonic() - started
    print(f"{REVIEWS:,} damaged reviews in {seconds:.0f} s: {dict(sorted(seen.items()))}")

    # Damaged as they are, enough of them come through to each kind of answer.
    assert seen["patched"] > REVIEWS / 4
    assert seen["unchanged"] > REVIEWS / 20
    assert seen["4xx"] > REVIEWS / 20


def _judge(message, status, answer, patch_oracle):
    """
    Hold one answer against the promise; return in a word what it was.
    """
    if status != 200:
        assert 400 <= status < 500
        assert answer.endswith(b"\n")
        assert len(answer.splitlines()) == 1
        assert b"Traceback" not in answer
        return "4xx"
    # What is remembered of all that came before says the same as a fresh decision.
    mode = "audit" if "/audit" in message.path else "enforce"
    fresh = Answers().to(read_review(message.body), Known.policy, Known().availability(), mode)
    assert fresh.body == answer
    # Bytes that are no UTF-8 are skipped where nobody reads them; Go would put in such marks, too.
    review = json.loads(message.body.decode(errors="replace"))
    document = json.loads(answer)
    response = document["response"]
    assert document["kind"] == "AdmissionReview"
    assert document["apiVersion"] == review["apiVersion"]
    assert response["uid"] == review["request"]["uid"]
    assert response["allowed"] is True
    assert ("patch" in response) is (response.get("patchType") == "JSONPatch")
    if "patch" not in response:
        return "unchanged"
    assert "/audit" not in message.path
    patch = base64.b64decode(response["patch"], validate=True)
    before = review["request"]["object"]
    after = patch_oracle.apply(before, patch)
    assert after == jsonpatch.apply_patch(before, patch.decode())
    _compare(before, after)
    return "patched"


def _compare(before, after):
    """
    Put everything back that we may change; what is left must be what was there before.
    """
    restored = deepcopy(after)
    changed = 0
    for place in PLACES:
        for old, new in zip(
            before["spec"].get(place) or (), restored["spec"].get(place) or (), strict=True
        ):
            holder, key = (old.get("image"), "reference") if place == "volumes" else (old, "image")
            target = new.get("image") if place == "volumes" else new
            if holder and holder.get(key) != target.get(key):
                assert target[key].startswith(f"{HARBOR}/proxy.")
                target[key] = holder[key]
                changed += 1
    assert changed > 0
    _put_back(before, restored, "labels", lambda key: key == LABEL)
    _put_back(before, restored, "annotations", lambda key: key.startswith(RECORD))
    if not before.get("metadata") and restored.get("metadata") == {}:
        restored.pop("metadata")
        restored |= {key: before[key] for key in before if key == "metadata"}
    secrets = before["spec"].get("imagePullSecrets")
    now = restored["spec"].pop("imagePullSecrets", None)
    assert now == secrets or now[: len(secrets or ())] == (secrets or [])
    if "imagePullSecrets" in before["spec"]:
        restored["spec"]["imagePullSecrets"] = secrets
    assert restored == before


def _put_back(before, restored, name, ours):
    old = (before.get("metadata") or {}).get(name)
    new = restored.get("metadata", {}).get(name)
    if new is None:
        return
    for key in [key for key in new if ours(key)]:
        new.pop(key)
        if old and key in old:
            new[key] = old[key]
    if old is None and new == {}:
        restored["metadata"].pop(name)
        if name in (before.get("metadata") or {}):
            restored["metadata"][name] = old
