"""
dex itself, with the rendered values.

The chart makes dex's config file of the key `config`; in place of its storage in Kubernetes it is
given memory here, and a connector that needs no one to log in.
"""

import asyncio
import base64
import socket
import subprocess
import urllib.parse

import aiohttp
import pytest
import yaml

from tests.support.render_programs import dex


pytestmark = pytest.mark.slow

_CLIENT = "harbor-cache-oidc-dex"
_REDIRECT = "https://harbor-cache.example.com/c/oidc/callback"


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
async def issuer(texts, tmp_path):
    """
    Start dex with what was rendered; return its URL and the client's secret.
    """
    url = f"http://127.0.0.1:{_free_port()}"
    found = texts("dex", f"provisioning: {{oidc: {{endpoint: '{url}', clientSecretFile: s}}}}")
    values = yaml.safe_load(found["values.yaml"])
    config = values["config"] | {
        "storage": {"type": "memory"},
        "web": {"http": url.removeprefix("http://")},
        "connectors": [{"type": "mockCallback", "id": "mock", "name": "Mock"}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (variable,) = values["envVars"]
    secret = found["client-secret"]
    log = tmp_path / "dex.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [dex(), "serve", tmp_path / "config.yaml"],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=dex().parent,
            env={variable["name"]: secret},
        )
    try:
        async with aiohttp.ClientSession() as session:
            await _until_it_answers(session, url, process, log)
            yield session, url, secret, log
    finally:
        process.terminate()
        process.wait(10)


async def _until_it_answers(session, url, process, log):
    for _ in range(150):
        assert process.poll() is None, log.read_text()
        try:
            async with session.get(f"{url}/.well-known/openid-configuration") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.2)
    pytest.fail(f"dex never answered: {log.read_text()}")


def _authorisation(url, redirect):
    query = {
        "client_id": _CLIENT,
        "redirect_uri": redirect,
        "response_type": "code",
        "scope": "openid profile email groups offline_access",
        "state": "ours",
    }
    return f"{url}/auth?{urllib.parse.urlencode(query)}"


async def test_a_login_ends_at_harbor(issuer):
    """
    Dex knows our client and its secret, sends the browser back to Harbor, and no one elsewhere.
    """
    session, url, secret, log = issuer

    async with session.get(_authorisation(url, "https://evil.example.com/")) as refused:
        pass
    page = _authorisation(url, _REDIRECT)
    # Through dex's own pages, until it sends us elsewhere.
    for _ in range(8):
        async with session.get(page, allow_redirects=False) as response:
            assert response.status in (302, 303), await response.text()
            page = urllib.parse.urljoin(page, response.headers["Location"])
        if not page.startswith(url):
            break
    answer = urllib.parse.urlsplit(page)
    query = dict(urllib.parse.parse_qsl(answer.query))
    exchange = {
        "grant_type": "authorization_code",
        "code": query.get("code", ""),
        "redirect_uri": _REDIRECT,
    }
    # Encoded twice, as RFC 6749 asks for and Harbor's library does.
    pair = f"{_CLIENT}:{urllib.parse.quote(secret, safe='')}"
    authorization = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    async with session.post(f"{url}/token", data=exchange, headers=authorization) as response:
        tokens = await response.json()

    assert 'msg="config static client" client_name=Harbor' in log.read_text()
    assert 400 == refused.status
    assert _REDIRECT == f"{answer.scheme}://{answer.netloc}{answer.path}"
    assert "ours" == query["state"]
    assert "id_token" in tokens
