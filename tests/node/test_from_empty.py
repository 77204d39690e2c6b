"""
The whole way of the guide (deploy/README.md), from an empty machine to a Pod from the cache.

Each step prints what of it is real and what is played.
"""

import asyncio
import subprocess
import sys
import time

import pytest

from tests.support.kube.client import ApiClient
from tests.support.kube.namespaces import namespaces
from tests.support.machine.machine import Machine
from tests.support.machine.play import playing, recap
from tests.support.node.images import push_image
from tests.support.node.release import ReleaseSite
from tests.support.node.workloads import container_image, is_running, pod, wait_for_pods
from webhook.demo.standin import ADMIN, ADMIN_PASSWORD, HarborStandIn, ThreadedStandIn


pytestmark = [pytest.mark.node, pytest.mark.slow]

_CONFIG = """
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {{url: "{url}"}}
registries:
  - {{host: docker.io, project: proxy.docker.io, canary: "library/web:1"}}
vm: {{httpPort: {port}}}
"""


class _Walk:
    """
    Steps, each with its time, and with what of it is real.
    """

    def __init__(self):
        self._number = 0
        self._since = time.monotonic()

    def say(self, step, how):
        self._number += 1
        now = time.monotonic()
        print(f"{self._number}. {step} ({now - self._since:.1f} s): {how}")
        self._since = now


def _command(folder, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "webhook", *arguments, "--config", "config.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert code == done.returncode, done.stdout + done.stderr
    return done.stdout


def _provision(folder):
    (folder / "password").write_text(ADMIN_PASSWORD)
    who = ("--username", ADMIN, "--password-file", "password")
    _command(folder, "harbor", "apply", *who, "--yes")
    _command(folder, "harbor", "plan", *who, "--detailed-exitcode")
    return _command(folder, "harbor", "verify")


async def _rewritten(client, site, namespace):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = await client.create(pod(namespace, "web:1", "trial"), dry_run=True)
        if container_image(answer.expect()) == site.rewritten("web:1"):
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("No Pod is rewritten.")


@pytest.mark.usefixtures("_equipped")
async def test_from_an_empty_machine_to_a_pod_from_the_cache(tmp_path):
    """
    In the order of the guide, the first Pod fills the cache, and the second needs no upstream.
    """
    walk = _Walk()
    with ThreadedStandIn(HarborStandIn()) as healthy:
        port = healthy.harbor.port
        config = tmp_path / "config.yaml"
        config.write_text(_CONFIG.format(url="https://harbor-cache.example.com", port=port))
        for kind in ("harbor", "traefik", "nodes"):
            _command(tmp_path, "render", kind, "--out", kind)
        walk.say("render harbor, traefik, nodes", "run")
        with Machine(tmp_path) as machine, playing(machine, tmp_path) as play:
            done = play()
            assert 0 == done.returncode, done.stdout + done.stderr
            assert "active\n" == machine.run("systemctl", "is-active", "harbor")
            walk.say(
                f"playbook on an empty Debian, {recap(done)['changed']} changes",
                "run, by a real systemd; Docker, prepare and Harbor's health played",
            )
    with ReleaseSite() as site:
        push_image(site.upstream.host, "library/web:1")
        walk.say("one node, an upstream, a pull-through registry", "run")
        # In place of the DNS record.
        config.write_text(_CONFIG.format(url=site.harbor.url, port=port))
        assert "1 of 1 projects serve" in _provision(tmp_path)
        walk.say("harbor apply, plan, verify", "run; Harbor played, its images real")
        async with (
            ApiClient(site.cluster) as client,
            namespaces(client, service_accounts=True) as make_namespace,
        ):
            namespace = await make_namespace("enforce")
            site.install()
            await _rewritten(client, site, namespace)
            walk.say("helm install, until Pods are rewritten", "run: chart, image, API server")
            (await client.create(pod(namespace, "web:1", "first"))).expect()
            (first,) = await wait_for_pods(client, namespace, is_running)
            walk.say("the first Pod runs, pulled through the cache", "run: kubelet, containerd")
            (await client.delete(f"/api/v1/namespaces/{namespace}/pods/first")).expect()
            site.node.remove_image(site.rewritten("web:1"))
            asked = len(site.upstream.requests())
            site.upstream.stop()
            (await client.create(pod(namespace, "web:1", "second"))).expect()
            await wait_for_pods(client, namespace, is_running)
            walk.say("the same image again, with the upstream gone", "run")
            site.helm("uninstall", "harbor-cache-webhook", "--wait")

    assert site.rewritten("web:1") == container_image(first)
    assert asked > 0
