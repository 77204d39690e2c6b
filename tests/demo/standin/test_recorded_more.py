"""
The stand-in against the second recording of a running Harbor: robots, retention, schedules, outages.
"""

import json
import time

import aiohttp

from tests.support.recordings import compare, recorded, send
from webhook.demo.standin import (
    ADMIN,
    ADMIN_PASSWORD,
    HarborStandIn,
    Image,
    Robot,
    SimulatedUpstream,
    State,
)
from webhook.demo.standin.upstream import MANIFEST_TYPES, UpstreamState, digest_of


RECORDED = recorded("harbor-recorded-2.json")
PUBLIC = "proxy.pub.example.com"
PULLER = ("puller", "S3cret-of-the-puller")
NUMBERS = frozenset({"artifact_id", "digest", "href", "id", "repository_id", "size"})
OIDC = "http://dex.test/dex"


def body_of(name):
    return next(e["response"]["body"] for e in RECORDED if e["name"] == name)


def tiny_image():
    """
    Return an image with the configuration that the recorded one has.
    """
    shown = body_of("artifacts of a cached repository")[0]["extra_attrs"]
    layer, config = b"layer", json.dumps(shown).encode()
    parts = {"config": config, "layer": layer}
    media = "application/vnd.oci.image."
    described = {
        name: {
            "mediaType": media + kind,
            "digest": digest_of(parts[name]),
            "size": len(parts[name]),
        }
        for name, kind in (("config", "config.v1+json"), ("layer", "layer.v1.tar+gzip"))
    }
    manifest = {
        "schemaVersion": 2,
        "config": described["config"],
        "layers": [described["layer"]],
    }
    blobs = {digest_of(content): content for content in parts.values()}
    return Image(json.dumps(manifest).encode(), MANIFEST_TYPES[1], blobs)


class Installation:
    """
    The Harbor of the recording: what it held when it began, and what was done to it between.
    """

    def __init__(self):
        state = State()
        self.state = state
        self.fill_registries(body_of("registries list with paging"))
        state.add_project("library", None)
        public = state.add_project(PUBLIC, state.endpoints[1])
        self.tiny = tiny_image()
        self.cache(public, "library/tiny", "1", self.tiny)
        for name in ("proxy.unc", "proxy.multi", "proxy.nocan"):
            state.add_project(name, state.endpoints[1])
        state.add_project("proxy.example", state.endpoints[2], {"public": "false"})
        state.add_project("plain.example", None)
        for robot in (*body_of("robots list"), *({"id": n} for n in (1, 2, 3, 6, 7))):
            number, name = robot["id"], robot.get("name", f"robot$other{robot['id']}")
            permissions = robot.get("permissions", [])
            held = Robot(number, name, "system", f"Secr3t-{number}", -1, permissions)
            held.description = robot.get("description", "")
            state.robots[number] = held
        self.index = Image(
            json.dumps(body_of("manifest get by digest, an index")).encode(), MANIFEST_TYPES[0], {}
        )
        self.harbor = HarborStandIn(state, front_timeout=0.2)
        self.images = {f"{name}:1": self.tiny for name in ("library/tiny", "lib/a", "lib/d")}
        self.harbor.issuers = {OIDC}
        self.harbor.upstreams |= {
            "http://upstream.test": SimulatedUpstream(self.images),
            "https://upstream.test": SimulatedUpstream(state=UpstreamState.REFUSED),
            "http://down.test": SimulatedUpstream(state=UpstreamState.REFUSED),
            "https://upstream-auth.test": SimulatedUpstream(credentials=PULLER, self_signed=True),
        }
        state.ids |= {"endpoint": 133, "robot": 8, "user": 3, "gc": 155}
        self.secret = self.old_secret = ""
        self.token = self.token_of_before = ""

    def fill_registries(self, page):
        """
        Put 132 endpoints in place, so that the recorded page of three is the second one.
        """
        names = {1: "pub.example.com", 2: "registry.example.com"}
        names |= {endpoint["id"]: endpoint["name"] for endpoint in page}
        for number in range(1, 134):
            self.state.ids["endpoint"] = number - 1
            name = names.get(number, f"other-{number}")
            endpoint = self.state.add_endpoint(name, "http://upstream.test")
            endpoint.updated = f"2026-11-25T00:{number:03}"
        del self.state.endpoints[6]  # There are gaps in the recorded numbers, ...
        for number in (1, 5):  # ... and what was changed comes last.
            self.state.endpoints[number].updated = "2026-11-25T01"

    def cache(self, project, repository, tag, image):
        project.manifests[f"{repository}@{image.digest}"] = (image.manifest, image.media_type)
        project.tags[f"{repository}:{tag}"] = image.digest
        project.blobs |= image.blobs
        project.repositories.add(repository)

    def before(self, name):
        """
        Do what was done to the running Harbor by other ways than its API, or is not recorded.
        """
        harbor, state = self.harbor, self.state
        match name:
            case "project create with limits":
                state.ids |= {"endpoint": 135}
                state.add_endpoint("rec5", "http://upstream.test")
                state.ids |= {"project": 140, "quota": 140, "retention": 139}
            case "robot get, expired":
                state.robots[9].expires_at = int(time.time()) - 60
            case "audit log":
                entry = state.audit[0]
                state.audit += [entry] * (521 - len(state.audit))
                state.audit[0], state.audit[1] = {**entry, "id": 521}, {**entry, "id": 520}
            case "redis down: registries":
                while len(state.endpoints) < 148:
                    state.add_endpoint(f"later-{len(state.endpoints)}", "http://upstream.test")
            case "project that is no proxy: manifest" | "manifest head by tag, an index":
                harbor.upstreams["http://upstream.test"] = SimulatedUpstream(
                    {"multi/app:1": self.index}
                )
            case "registry create, the upstream accepts and never answers":
                self.set_upstream(UpstreamState.HUNG)
            case "manifest head uncached, the upstream answers 429":
                self.set_upstream(UpstreamState.RATE_LIMITED)
            case "manifest get uncached, the upstream answers 401":
                self.set_upstream(UpstreamState.UNAUTHORIZED)
            case "manifest get uncached, the upstream answers 500":
                self.set_upstream(UpstreamState.BROKEN)
        out = {
            "database down": "database",
            "redis down": "redis",
            "backing registry down": "registry",
            "core down": "core",
        }
        if "uncached" in name:
            uncached = state.project("proxy.unc")
            uncached.manifests.clear()
            uncached.tags.clear()
        part = name.partition(":")[0]
        harbor.down = {out[part]} if part in out else set()
        if part.startswith("upstream down"):
            self.set_upstream(UpstreamState.REFUSED)
        elif part.startswith("robot disabled, summary of a public"):
            self.set_upstream(UpstreamState.UP)

    def set_upstream(self, state):
        self.harbor.upstreams["http://upstream.test"] = SimulatedUpstream(self.images, state)

    def authorization(self, name, request):
        match request["auth"]:
            case "admin":
                return aiohttp.encode_basic_auth(ADMIN, ADMIN_PASSWORD)
            case "user":
                return aiohttp.encode_basic_auth("eve", "Passw0rd-of-eve", "utf-8")
            case "robot":
                secret = self.old_secret if name.startswith("old secret") else self.secret
                return aiohttp.encode_basic_auth("robot$rec2", secret)
            case "bearer":
                before = "a token from before" in name
                return f"Bearer {self.token_of_before if before else self.token}"
        return None

    def body(self, name, request):
        """
        Return the body with secrets in the places where the recording has none.
        """
        body = request["body"]
        if not isinstance(body, dict):
            return body
        if body.get("secret"):
            body = body | {"secret": "weak" if "weak" in name else f"N3w-secret-{len(name)}"}
        if body.get("password"):
            body = body | {"password": "Passw0rd-of-eve"}
        secret = "wrong" if "wrong password" in name else PULLER[1]
        if body.get("access_secret"):
            body = body | {"access_secret": secret}
        if "credential" in body:
            body = body | {"credential": body["credential"] | {"access_secret": secret}}
        return body

    def learn(self, sent, request, text):
        """
        Keep what later requests log in with.
        """
        answer = json.loads(text) if text[:1] == "{" else {}
        if "token" in answer:
            if request["auth"] == "robot" and not self.token_of_before:
                self.token_of_before = answer["token"]
            self.token = answer["token"]
        if request["method"] in ("POST", "PATCH") and "/robots" in request["path"]:
            secret = answer.get("secret") or (sent or {}).get("secret")
            if secret and "errors" not in answer:
                self.old_secret, self.secret = self.secret, secret


async def test_the_second_recording_in_its_order():
    """
    Every recorded request gets the recorded status, headers that matter, error and shape.
    """
    differences = []
    installation = Installation()
    harbor = installation.harbor

    async with harbor, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for exchange in RECORDED:
            name, request = exchange["name"], exchange["request"]
            installation.before(name)
            body = installation.body(name, request)
            authorization = installation.authorization(name, request)
            response, text = await send(harbor, session, request, authorization, body)
            installation.learn(body, request, text)
            ours = NUMBERS if name.startswith("artifacts") else frozenset()
            wanted, got = compare(harbor, exchange, response, text, ours)
            if wanted != got:
                differences.append((name, wanted, got))

    for difference in differences:
        print(*difference, sep="\n   ")
    assert differences == []
    assert 187 == len(RECORDED)
