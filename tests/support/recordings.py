"""
Exchanges with a running Harbor, sent again to the stand-in and compared.
"""

import json

from pathlib import Path


DATA = Path(__file__).parents[1] / "data"
# Headers that carry meaning; lengths and cookies do not.
COMPARED = ("content-type", "location", "x-total-count", "link", "docker-distribution-api-version")
# What differs from one installation to the next, or tells of its network in its own words.
VALUES_THAT_DIFFER = {
    "comment",
    "error",
    "expires_at",
    "external_url",
    "issued_at",
    "realname",
    "registry_url",
    "secret",
    "token",
    "url",
}


def recorded(name):
    return json.loads((DATA / name).read_text("utf-8"))


def shape(value, differing=frozenset(), key=""):
    """
    Return *value* with what differs between installations and moments replaced by its type.
    """
    if isinstance(value, dict):
        return {k: shape(v, differing, k) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v, differing, key) for v in value]
    if key == "expires_at":
        return "never" if value == -1 else "a moment"
    if key.endswith("_time") or key in VALUES_THAT_DIFFER | differing:
        return type(value).__name__
    return value


async def send(harbor, session, request, authorization, body=None):
    """
    Send a recorded request, with what its recording left out put in its place.
    """
    headers = dict(request["headers"])
    if authorization:
        headers["Authorization"] = authorization
    if isinstance(body, dict) and "Content-Type" not in headers:
        headers["Content-Type"] = "application/json"
    data = body if isinstance(body, str) else None if body is None else json.dumps(body)
    async with session.request(
        request["method"],
        harbor.url + request["path"],
        headers=headers,
        data=data,
        allow_redirects=False,
    ) as response:
        return response, await response.text()


def compare(harbor, exchange, response, text, differing=frozenset()):
    """
    Return what was recorded and what came, as far as it carries meaning.
    """
    expected = exchange["response"]
    got = {"status": response.status}
    wanted = {"status": expected["status"]}
    for name in COMPARED:
        if name in expected["headers"]:
            wanted[name] = expected["headers"][name]
            got[name] = response.headers.get(name)
    if "www-authenticate" in expected["headers"]:
        wanted["challenge"] = expected["headers"]["www-authenticate"]
        got["challenge"] = response.headers.get("www-authenticate", "none").replace(
            f"127.0.0.1:{harbor.port}", "harbor.test"
        )
    if "docker-content-digest" in expected["headers"]:
        wanted["digest"] = bool(expected["headers"]["docker-content-digest"])
        got["digest"] = bool(response.headers.get("docker-content-digest"))
    if isinstance(expected["body"], (dict, list)) and text[:1] in ("{", "["):
        body = json.loads(text)
        if "manifest get" in exchange["name"] and response.status == 200:
            wanted["keys"], got["keys"] = sorted(expected["body"]), sorted(body)
        else:
            wanted["body"], got["body"] = (
                shape(expected["body"], differing),
                shape(body, differing),
            )
    else:
        wanted["text"], got["text"] = expected["body"], text
    return wanted, got
