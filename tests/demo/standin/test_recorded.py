"""
The stand-in against exchanges with a running Harbor.
"""

import json

import aiohttp
import pytest

from tests.support.recordings import compare, recorded, send
from webhook.demo.standin import (
    ADMIN,
    ADMIN_PASSWORD,
    HarborStandIn,
    Image,
    SimulatedUpstream,
    State,
    UnknownRequestError,
)


RECORDED = recorded("harbor-recorded.json")
# The URL of the upstream that the recording's endpoint was made with; shown as upstream.test.
UPSTREAM = "http://127.0.0.1:18083"


def authorization_of(request, credentials):
    match request["auth"]:
        case "admin":
            return aiohttp.encode_basic_auth(ADMIN, ADMIN_PASSWORD)
        case "wrong password":
            return aiohttp.encode_basic_auth(ADMIN, "wrong")
        case "robot":
            return aiohttp.encode_basic_auth("robot$recprobe", credentials["robot"])
        case "bearer":
            return f"Bearer {credentials['token']}"
    return None


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
            request = exchange["request"]
            authorization = authorization_of(request, credentials)
            response, text = await send(harbor, session, request, authorization, request["body"])
            wanted, got = compare(harbor, exchange, response, text)
            body = json.loads(text) if text[:1] in ("{", "[") else None
            if isinstance(body, dict) and "token" in body:
                credentials["token"] = body["token"]
            if isinstance(body, dict) and "secret" in body:
                credentials["robot"] = body["secret"]
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
