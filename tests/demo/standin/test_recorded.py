"""
The stand-in against exchanges with a running Harbor.
"""

import json

from pathlib import Path

import aiohttp
import pytest

from webhook.demo.standin import (
    ADMIN,
    ADMIN_PASSWORD,
    HarborStandIn,
    Image,
    SimulatedUpstream,
    State,
    UnknownRequestError,
)


RECORDED = json.loads(
    (Path(__file__).parents[2] / "data" / "harbor-recorded.json").read_text("utf-8")
)
# The URL of the upstream that the recording's endpoint was made with; shown as upstream.test.
UPSTREAM = "http://127.0.0.1:18083"
# Headers that carry meaning; lengths and cookies do not.
COMPARED = ("content-type", "location", "x-total-count", "link", "docker-distribution-api-version")
# What differs from one installation to the next.
VALUES_THAT_DIFFER = {"url", "registry_url", "external_url", "secret", "token", "issued_at"}


def shape(value, key=""):
    """
    Return *value* with what differs between installations and moments replaced by its type.
    """
    if isinstance(value, dict):
        return {k: shape(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v, key) for v in value]
    if key.endswith("_time") or key in VALUES_THAT_DIFFER:
        return type(value).__name__
    if key in {"comment", "realname"}:
        return type(value).__name__
    return value


async def replay(harbor, session, exchange, credentials):
    request = exchange["request"]
    headers = dict(request["headers"])
    auth = None
    match request["auth"]:
        case "admin":
            auth = aiohttp.encode_basic_auth(ADMIN, ADMIN_PASSWORD)
        case "wrong password":
            auth = aiohttp.encode_basic_auth(ADMIN, "wrong")
        case "robot":
            auth = aiohttp.encode_basic_auth("robot$recprobe", credentials["robot"])
        case "bearer":
            headers["Authorization"] = f"Bearer {credentials['token']}"
    if auth:
        headers["Authorization"] = auth
    body = request["body"]
    data = body if isinstance(body, str) else None if body is None else json.dumps(body)
    async with session.request(
        request["method"],
        harbor.url + request["path"],
        headers=headers,
        data=data,
        allow_redirects=False,
    ) as response:
        text = await response.text()
        return response, text


async def test_all_recorded_exchanges_in_their_order():
    """
    Every recorded request gets the recorded status, headers that matter, error and shape.
    """
    state = State()
    state.add_project("library", None)
    state.add_project("proxy.example", state.add_endpoint("example", "http://example.test"))
    state.ids["retention"] = 1
    state.ids["project"] = 3  # One more existed and was deleted before the recording ...
    third = state.add_project("third", None)
    state.projects.pop(third.id)
    state.ids["project"], state.ids["quota"] = 2, 2
    # ... so that three are there while the list is recorded.
    harbor = HarborStandIn(state)
    tiny = Image.made_up("tiny")
    harbor.upstreams[UPSTREAM] = SimulatedUpstream({"library/tiny:1": tiny})
    credentials = {}
    differences = []

    async with harbor, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for exchange in RECORDED:
            if exchange["name"] == "project create":
                state.ids["project"] = 3
            response, text = await replay(harbor, session, exchange, credentials)
            expected = exchange["response"]
            got = {"status": response.status}
            wanted = {"status": expected["status"]}
            for name in COMPARED:
                if name in expected["headers"]:
                    wanted[name] = expected["headers"][name]
                    got[name] = response.headers.get(name)
            if "www-authenticate" in expected["headers"]:
                wanted["challenge"] = expected["headers"]["www-authenticate"]
                got["challenge"] = response.headers["www-authenticate"].replace(
                    f"127.0.0.1:{harbor.port}", "harbor.test"
                )
            if "docker-content-digest" in expected["headers"]:
                wanted["digest"] = bool(expected["headers"]["docker-content-digest"])
                got["digest"] = bool(response.headers["docker-content-digest"])
            if isinstance(expected["body"], (dict, list)):
                body = json.loads(text)
                if "manifest get" in exchange["name"]:
                    wanted["keys"], got["keys"] = sorted(expected["body"]), sorted(body)
                else:
                    wanted["body"], got["body"] = shape(expected["body"]), shape(body)
                if "token" in body:
                    credentials["token"] = body["token"]
                if body and "secret" in body:
                    credentials["robot"] = body["secret"]
            else:
                wanted["text"], got["text"] = expected["body"], text
            if wanted != got:
                differences.append((exchange["name"], wanted, got))

    assert differences == []
    assert len(RECORDED) == 66


async def test_a_strict_stand_in_refuses_what_no_harbor_was_seen_to_answer():
    """
    A request without a recorded exchange or a cited fact fails the test that made it.
    """
    with pytest.raises(UnknownRequestError, match=r"GET /api/v2\.0/scanners"):
        async with HarborStandIn() as harbor, aiohttp.ClientSession() as session:
            await session.get(f"{harbor.url}/api/v2.0/scanners")
