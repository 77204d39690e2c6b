"""
Pulling through every project, as a container runtime does.
"""

import asyncio
import json
import shutil
import ssl
import subprocess
import textwrap

import aiohttp
import pytest

from tests.support.provisioning import client_of, config_for
from webhook.demo.standin import (
    Fault,
    HarborStandIn,
    Robot,
    SimulatedUpstream,
    State,
    UpstreamState,
)
from webhook.demo.standin.upstream import MANIFEST_TYPES, Image
from webhook.harbor.client import Credentials
from webhook.provisioning.api import Api
from webhook.provisioning.verify import verify


TLS = ssl.create_default_context()
QUAY = "proxy.quay.io"


async def proofs_of(harbor, credentials=None, *, admin=False, **sections):
    config = config_for(harbor.url, **sections)
    if not admin:
        found = await verify(config, TLS, credentials)
    else:
        async with client_of(harbor) as client:
            found = await verify(config, TLS, credentials, Api(client))
    return {proof.project: proof for proof in found.proofs}


async def test_all_four_projects_serve():
    """
    One image comes through every project, with a time each.
    """
    async with HarborStandIn() as harbor:
        proofs = await proofs_of(harbor)

    assert 4 == len(proofs)
    assert all(proof.works for proof in proofs.values())
    assert all(proof.seconds > 0 for proof in proofs.values())
    assert proofs[QUAY].image.endswith("/proxy.quay.io/prometheus/busybox:latest")


async def test_an_index_is_followed_to_the_image():
    """
    A multi-platform image is pulled by the digest of its linux/amd64 image.
    """
    child = Image.made_up("child")
    platforms = [("arm64", "sha256:" + "0" * 64), ("amd64", child.digest)]
    index = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {"digest": digest, "platform": {"os": "linux", "architecture": name}}
                for name, digest in platforms
            ],
        }
    ).encode()
    async with HarborStandIn() as harbor:
        harbor.upstream_of(QUAY).images = {
            "prometheus/busybox:latest": Image(index, MANIFEST_TYPES[0], {}),
            "prometheus/busybox:child": child,
        }
        proofs = await proofs_of(harbor)
        paths = [seen.path for seen in harbor.requests if QUAY in seen.path]

    assert proofs[QUAY].works, proofs[QUAY].why
    assert any(path.endswith(child.digest) for path in paths)


@pytest.mark.parametrize(
    ("admin", "words"),
    [(True, "Harbor can't use the upstream quay.io"), (False, "refused Harbor")],
)
async def test_a_dead_upstream_is_named(admin, words):
    """
    Harbor answers 404 when an upstream is dead; asked as an administrator, it says why.
    """
    async with HarborStandIn() as harbor:
        harbor.upstream_of(QUAY).state = UpstreamState.REFUSED
        proofs = await proofs_of(harbor, admin=admin)

    assert words in proofs[QUAY].why
    assert ("upstream-unhealthy" if admin else "not-found") == proofs[QUAY].cause
    assert 3 == sum(proof.works for proof in proofs.values())


async def test_an_upstream_that_harbor_calls_unhealthy_is_named_without_a_password():
    """
    The project's summary tells everyone that the upstream is unhealthy.
    """
    async with HarborStandIn() as harbor:
        harbor.upstream_of(QUAY).state = UpstreamState.REFUSED
        await harbor.check_upstreams()
        proofs = await proofs_of(harbor)

    assert "upstream-unhealthy" == proofs[QUAY].cause
    assert "https://quay.io" in proofs[QUAY].why


async def test_a_project_that_is_absent():
    """
    An absent project is refused with 401 by Harbor; we say what that means.
    """
    async with HarborStandIn() as harbor:
        del harbor.state.projects[harbor.state.project(QUAY).id]
        proofs = await proofs_of(harbor)

    assert "unauthorized" == proofs[QUAY].cause
    assert "the project is absent" in proofs[QUAY].why


async def test_a_private_project_is_pulled_from_with_the_robot_account():
    """
    Nodes without a pull secret are everyone, whatever the robot account may; with one they pull.
    """
    access = [
        {"resource": "repository", "action": "pull"},
        {"resource": "project", "action": "read"},
    ]
    permissions = [{"kind": "project", "namespace": QUAY, "access": access}]
    async with HarborStandIn() as harbor:
        harbor.state.project(QUAY).metadata["public"] = "false"
        harbor.state.robots[1] = Robot(1, "robot$a", "system", "Secr3t-a", -1, permissions)
        robot = Credentials("robot$a", "Secr3t-a")
        without = await proofs_of(harbor, robot)
        with_it = await proofs_of(harbor, robot, pullSecrets=["harbor-pull"])

    assert "unauthorized" == without[QUAY].cause
    assert with_it[QUAY].works


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault.REFUSED, "refused"),
        (Fault.BAD_GATEWAY, "http-5xx"),
        (Fault.HTML, "not-harbor"),
        (Fault.REDIRECT, "redirect"),
        (Fault.NOT_FOUND, "not-found"),
    ],
)
async def test_a_harbor_that_does_not_serve(fault, cause):
    """
    Every project fails, each with the cause in one word.
    """
    async with HarborStandIn() as harbor:
        await harbor.set_fault(fault)
        proofs = await proofs_of(harbor)

    assert {cause} == {proof.cause for proof in proofs.values()}


async def test_a_wrong_external_url_is_named():
    """
    A token service on another host than Harbor's is no proof, and its reason is said.
    """
    async with HarborStandIn() as harbor:
        harbor.external_scheme = "https://elsewhere.example/x?"
        proofs = await proofs_of(harbor)
        harbor.external_scheme = "https"
        other_scheme = await proofs_of(harbor)

    assert "external_url" in proofs[QUAY].why
    assert not proofs[QUAY].works
    assert other_scheme[QUAY].works
    assert "external_url has the wrong scheme" in other_scheme[QUAY].why


async def test_no_more_than_eight_requests_are_under_way():
    """
    Many projects are pulled from some at once: Harbor serves nodes meanwhile.
    """
    registries = [
        {"host": f"r{number}.example", "project": f"proxy.r{number}", "canary": "team/app:1"}
        for number in range(40)
    ]
    async with HarborStandIn(answer_delay=0.02) as harbor:
        for registry in registries:
            endpoint = harbor.state.add_endpoint(registry["host"], f"https://{registry['host']}")
            harbor.upstreams[endpoint.asks] = SimulatedUpstream()
            harbor.state.add_project(registry["project"], endpoint)
        proofs = await proofs_of(harbor, registries=registries)
        failing = dict(harbor.upstreams)
        for url in failing:
            harbor.upstreams[url] = SimulatedUpstream(state=UpstreamState.REFUSED)
        broken = await proofs_of(harbor, registries=registries[:20], admin=True)

    assert 40 == sum(proof.works for proof in proofs.values())
    assert {"upstream-unhealthy"} | {""} >= {proof.cause for proof in broken.values()}
    assert 8 == harbor.most_in_flight


async def test_read_only_mode_is_no_reason_to_fail():
    """
    Harbor checks no upstream then; the proof goes on and says so.
    """
    async with HarborStandIn() as harbor:
        harbor.upstream_of(QUAY).state = UpstreamState.REFUSED
        harbor.state.configuration["read_only"] = True
        proofs = await proofs_of(harbor, admin=True)

    assert "not-found" == proofs[QUAY].cause
    assert "read-only mode" in proofs[QUAY].why
    assert 3 == sum(proof.works for proof in proofs.values())


async def test_a_registry_without_a_known_image_needs_a_canary():
    """
    What can't be tried does not count as working.
    """
    registries = [{"host": "registry.example", "project": QUAY}]
    async with HarborStandIn() as harbor:
        proofs = await proofs_of(harbor, registries=registries)

    assert "no-canary" == proofs[QUAY].cause


# With real registries.

REGISTRY = shutil.which("docker-registry")


async def free_port():
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


class Registry:
    """
    Debian's docker-registry on loopback; a pull-through cache where it has a *remote*.
    """

    def __init__(self, directory, remote=None):
        self.directory = directory
        self.remote = remote

    async def __aenter__(self):
        self.port = await free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory.mkdir()
        config = textwrap.dedent(f"""\
            version: 0.1
            log: {{level: error}}
            storage: {{filesystem: {{rootdirectory: {self.directory}/data}}}}
            http: {{addr: "127.0.0.1:{self.port}"}}
            """)
        if self.remote:
            config += f"proxy: {{remoteurl: {self.remote}}}\n"
        file = self.directory / "config.yml"
        file.write_text(config, "utf-8")
        self.process = subprocess.Popen(
            [REGISTRY, "serve", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(30), aiohttp.ClientSession() as session:
                while True:
                    try:
                        async with session.get(f"{self.url}/v2/") as response:
                            if response.status == 200:
                                return self
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()

    async def __aexit__(self, *_):
        self.stop()

    async def push(self, name, tag, image):
        async with aiohttp.ClientSession() as session:
            for digest, content in image.blobs.items():
                async with session.post(f"{self.url}/v2/{name}/blobs/uploads/") as response:
                    where = response.headers["Location"]
                joiner = "&" if "?" in where else "?"
                async with session.put(
                    f"{where}{joiner}digest={digest}", data=content
                ) as response:
                    assert 201 == response.status
            async with session.put(
                f"{self.url}/v2/{name}/manifests/{tag}",
                data=image.manifest,
                headers={"Content-Type": image.media_type},
            ) as response:
                assert 201 == response.status


@pytest.mark.skipif(REGISTRY is None, reason="needs the program of Debian's docker-registry")
async def test_through_a_real_registry_in_pull_through_mode(tmp_path):
    """
    An image comes through a real pull-through cache; a broken upstream is named with its cause.
    """
    image = Image.made_up("real")
    async with (
        Registry(tmp_path / "upstream") as upstream,
        Registry(tmp_path / "cache", remote=upstream.url) as cache,
    ):
        await upstream.push("team/app", "1", image)
        state = State()
        harbor = HarborStandIn(state, forward={"proxy.real": cache.url})
        registries = [{"host": "real.example", "project": "proxy.real", "canary": "team/app:1"}]
        async with harbor:
            good = await proofs_of(harbor, registries=registries)
            cached = cache.directory / "data/docker/registry/v2/repositories/team/app"
            is_cached = cached.exists()
            upstream.stop()
            still = await proofs_of(harbor, registries=registries)
            missing = [registries[0] | {"canary": "team/other:1"}]
            absent = await proofs_of(harbor, admin=True, registries=missing)
            cache.stop()
            broken = await proofs_of(harbor, admin=True, registries=missing)

    proof = good["proxy.real"]
    print(f"{proof.image}: {proof.seconds:.3f} s through Debian's docker-registry")
    assert proof.works, proof.why
    assert is_cached
    assert still["proxy.real"].works, still["proxy.real"].why
    assert not absent["proxy.real"].works
    assert "upstream-unhealthy" == broken["proxy.real"].cause
    assert cache.url in broken["proxy.real"].why
