"""
nginx itself, with what the playbook and the README do to the file that Harbor's `prepare` makes.

The file here has the shape of Harbor's own, as far as waiting is concerned.  Waiting goes ten
times as fast as it says.
"""

import asyncio
import re
import socket
import subprocess
import time

import aiohttp
import pytest
import yaml

from aiohttp import web

from tests.support.programs import require_program


_FASTER = 10
_SELF_SIGNED = "vm: {front: self-signed}"
_PREPARED = """\
worker_processes auto;
pid nginx.pid;

events {
  worker_connections 1024;
}

http {
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  tcp_nodelay on;

  upstream core {
    server 127.0.0.1:CORE;
  }

  access_log off;

  server {
    listen 127.0.0.1:PORT;

    location /service/ {
      proxy_pass http://core/service/;
    }

    location /v2/ {
      proxy_pass http://core/v2/;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_send_timeout 900;
      proxy_read_timeout 900;
    }
  }
}
"""


def _by_playbook(texts, text):
    """
    Replace as `ansible.builtin.replace` does.
    """
    tasks = yaml.safe_load(texts("harbor", _SELF_SIGNED)["playbook.yml"])[0]["tasks"]
    (task,) = [task for task in tasks if "ansible.builtin.replace" in task]
    for item in task["loop"]:
        text = re.sub(item["regexp"], item["replace"], text, flags=re.MULTILINE)
    return text


def _by_hand(texts, folder, text):
    """
    Run what the README says.
    """
    file = folder / "common/config/nginx/nginx.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    readme = texts("harbor", _SELF_SIGNED)["README.md"]
    (command,) = re.findall(r"^    (grep -q .*?nginx\.conf)$", readme, re.MULTILINE | re.DOTALL)
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    return file.read_text()


def test_by_hand_and_by_playbook(texts, tmp_path):
    """
    The README's line and the playbook make the same file, and do nothing to it a second time.
    """
    made = _by_playbook(texts, _PREPARED)

    assert "900" not in made
    assert made.startswith(_PREPARED.partition("http {")[0])
    assert made == _by_playbook(texts, made)
    assert made == _by_hand(texts, tmp_path, _PREPARED)
    assert made == _by_hand(texts, tmp_path, made)


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def _core(request):
    match request.path.rpartition("/")[2]:
        case "silent":
            await asyncio.sleep(3600)
        case "slow":
            await asyncio.sleep(35 / _FASTER)
        case "drip":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(20):
                await response.write(b"drop")
                await asyncio.sleep(0.4)
            return response
    return web.Response(text="harbor")


@pytest.fixture
async def nginx(texts, tmp_path):
    program = require_program("nginx", "nginx-light")
    runner = web.ServerRunner(web.Server(_core), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", core_port := _free_port()).start()
    text = _by_playbook(texts, _PREPARED)
    port = _free_port()
    text = text.replace("CORE", str(core_port)).replace("PORT", str(port))
    text = re.sub(r"(\d+)s;", lambda limit: f"{int(limit[1]) * 1000 // _FASTER}ms;", text)
    (tmp_path / "nginx.conf").write_text(text)
    process = subprocess.Popen(
        [program, "-p", tmp_path, "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
    )
    try:
        await _until_it_listens(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
        await runner.cleanup()


async def _until_it_listens(port, process):
    for _ in range(150):
        assert process.poll() is None
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            await asyncio.sleep(0.1)
    pytest.fail("nginx does not listen")


@pytest.mark.slow
async def test_a_core_that_hangs_is_answered_for(nginx):
    """
    Silence becomes a 504; what begins late but in time, and what flows slowly for long, gets through.
    """

    async def fetch(path):
        started = time.monotonic()
        async with aiohttp.ClientSession() as session, session.get(f"{nginx}/{path}") as response:
            text = await response.text()
        seconds = (time.monotonic() - started) * _FASTER
        print(f"nginx, {path}: {response.status}, {len(text)} bytes, as after {seconds:.0f} s")
        return response.status, text, seconds

    paths = ("v2/silent", "service/silent", "v2/slow", "v2/drip")
    silent, token, slow, drip = await asyncio.gather(*map(fetch, paths))

    assert (504, 504) == (silent[0], token[0])
    assert max(silent[2], token[2]) < 60
    assert (200, "harbor") == slow[:2]
    assert (200, "drop" * 20) == drip[:2]
    # Longer than the limit: it does not count for what flows.
    assert drip[2] > silent[2]
