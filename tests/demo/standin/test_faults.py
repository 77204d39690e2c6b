"""
The ways in which the stand-in fails.
"""

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request

import aiohttp
import pytest

from webhook.demo.standin import Fault, HarborStandIn, ThreadedStandIn, UpstreamState


HEALTH = "/api/v2.0/health"
MANIFEST = "/v2/proxy.quay.io/a/b/manifests/1"


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=2)
    ) as session:
        yield session


async def test_stopped_and_started_it_keeps_its_port(session):
    """
    A stopped stand-in refuses connections; started again, it answers on the same port.
    """
    async with HarborStandIn() as harbor:
        before = harbor.url
        await harbor.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(harbor.url + HEALTH)
        await harbor.start()
        async with session.get(harbor.url + HEALTH) as response:
            status = response.status

        assert (before, 200) == (harbor.url, status)


async def test_a_black_hole_makes_no_connection(session):
    """
    A black hole lets the connection itself time out, and ends with the fault.
    """
    async with HarborStandIn() as harbor:
        await harbor.set_fault(Fault.BLACK_HOLE)
        timeout = aiohttp.ClientTimeout(sock_connect=0.3)
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get(harbor.url + HEALTH, timeout=timeout)
        await harbor.set_fault(Fault.NONE)
        async with session.get(harbor.url + HEALTH) as response:
            assert response.status == 200


async def test_a_hang_answers_nothing_and_can_be_stopped(session):
    """
    A hanging stand-in reads requests, never answers, and still closes at once.
    """
    async with HarborStandIn() as harbor:
        await harbor.set_fault(Fault.HANG)
        with pytest.raises(TimeoutError):
            await session.get(harbor.url + HEALTH, timeout=aiohttp.ClientTimeout(total=0.2))
        async with asyncio.timeout(1):
            await harbor.stop()


@pytest.mark.parametrize(
    ("fault", "status", "content_type"),
    [
        (Fault.BAD_GATEWAY, 502, "text/html"),
        (Fault.SERVER_ERROR, 500, "application/json"),
        (Fault.UNAUTHORIZED, 401, "application/json"),
        (Fault.NOT_FOUND, 404, "application/json"),
        (Fault.HTML, 200, "text/html"),
        (Fault.REDIRECT, 302, "application/octet-stream"),
        (Fault.ENDLESS, 200, "application/json"),
    ],
)
async def test_faults_that_are_answers(session, fault, status, content_type):
    """
    Each fault gives its status and content type, whatever is asked.
    """
    async with HarborStandIn() as harbor:
        await harbor.set_fault(fault)
        response = await session.get(harbor.url + HEALTH, allow_redirects=False)
        response.close()

        assert (status, content_type) == (response.status, response.content_type)


async def token_for(session, harbor):
    url = f"{harbor.url}/service/token?service=harbor-registry&scope=repository:x/y:pull"
    async with session.get(url) as response:
        return {"Authorization": f"Bearer {(await response.json())['token']}"}


async def test_a_dead_upstream_leaves_what_is_cached(session):
    """
    With the upstream refused a cached tag is served, and an uncached one is 404, not 5xx.
    """
    async with HarborStandIn() as harbor:
        headers = await token_for(session, harbor)
        await session.get(harbor.url + MANIFEST, headers=headers)
        harbor.upstream_of("proxy.quay.io").state = UpstreamState.REFUSED
        async with session.get(harbor.url + MANIFEST, headers=headers) as cached:
            pass
        async with session.get(harbor.url + MANIFEST + "9", headers=headers) as uncached:
            pass

        assert (cached.status, uncached.status) == (200, 404)
        assert cached.headers["Docker-Content-Digest"].startswith("sha256:")


async def test_one_project_can_be_dead_alone(session):
    """
    A fault of one project leaves the others alone.
    """
    async with HarborStandIn() as harbor:
        headers = await token_for(session, harbor)
        await harbor.set_fault(Fault.SERVER_ERROR, "proxy.quay.io")
        async with session.head(harbor.url + MANIFEST, headers=headers) as dead:
            pass
        alive_path = "/v2/proxy.gcr.io/a/b/manifests/1"
        async with session.head(harbor.url + alive_path, headers=headers) as alive:
            pass

        assert (dead.status, alive.status) == (500, 200)


async def test_a_single_segment_is_redirected_for_docker_hub_alone(session):
    """
    An endpoint of type docker-hub redirects nginx to library/nginx; other types do not.
    """
    async with HarborStandIn() as harbor:
        headers = await token_for(session, harbor)
        answers = []
        for project in ("proxy.docker.io", "proxy.quay.io"):
            url = f"{harbor.url}/v2/{project}/nginx/manifests/1"
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                answers.append((response.status, response.headers.get("Location")))

        assert answers == [(301, "/v2/proxy.docker.io/library/nginx/manifests/1"), (200, None)]


async def test_wrong_credentials_are_anonymous_and_lock_the_user(session):
    """
    A wrong password is answered 200 as anonymous, and then the right one is refused for a while.
    """
    wrong = {"Authorization": aiohttp.encode_basic_auth("admin", "wrong")}
    async with HarborStandIn(login_delay=0.3) as harbor:
        password = harbor.state.admin_password
        right = {"Authorization": aiohttp.encode_basic_auth("admin", password)}
        url = harbor.url + "/api/v2.0/systeminfo"
        statuses = []
        async with session.get(url, headers=wrong) as response:
            statuses.append((response.status, "harbor_version" in await response.json()))
        await session.get(url, headers=wrong)
        current = harbor.url + "/api/v2.0/users/current"
        tasks = [
            asyncio.create_task(session.get(current, headers=wrong)),
            asyncio.create_task(session.get(current, headers=right)),
        ]
        first, locked = await asyncio.gather(*tasks)
        await asyncio.sleep(0.35)
        async with session.get(current, headers=right) as response:
            later = response.status

        assert statuses == [(200, False)]
        assert (first.status, locked.status, later) == (401, 401, 200)


async def test_a_session_cookie_makes_writes_fail():
    """
    A client that keeps cookies can read, and gets 403 for lack of a CSRF token when it writes.
    """
    jar = aiohttp.CookieJar(unsafe=True)
    async with HarborStandIn() as harbor, aiohttp.ClientSession(cookie_jar=jar) as keeping:
        password = harbor.state.admin_password
        headers = {"Authorization": aiohttp.encode_basic_auth("admin", password)}
        async with keeping.get(harbor.url + "/api/v2.0/registries", headers=headers) as read:
            pass
        async with keeping.put(
            harbor.url + "/api/v2.0/registries/1", headers=headers, json={}
        ) as written:
            pass

        assert (read.status, written.status) == (200, 403)


def test_in_a_thread():
    """
    Code that is not asynchronous can use the stand-in, and stop and start it.
    """
    with ThreadedStandIn() as harbor:
        with urllib.request.urlopen(harbor.url + "/api/v2.0/ping", timeout=2) as response:
            pong = response.read()
        harbor.set_fault(Fault.REFUSED)
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(harbor.url + "/api/v2.0/ping", timeout=2)

    assert pong == b"Pong"


def test_as_a_process():
    """
    The stand-in runs as a process whose control port changes its faults, and ends on SIGTERM.
    """
    command = [sys.executable, "-m", "webhook.demo.standin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            where = json.loads(process.stdout.readline())
            change = urllib.request.Request(
                where["control"] + "/fault", json.dumps({"fault": "server-error"}).encode()
            )
            urllib.request.urlopen(change, timeout=2).close()
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(where["url"] + "/api/v2.0/ping", timeout=2)
            raised.value.close()
        finally:
            process.terminate()

    assert (raised.value.code, process.returncode) == (500, 0)
