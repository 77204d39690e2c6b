"""
The webhook as a process: start, TLS, files that change, and the end.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest

from certs.issue import issue_into
from certs.source import FileSource
from webhook import __version__
from webhook.config import load_config
from webhook.demo.cluster import free_port
from webhook.demo.standin import Fault, HarborStandIn
from webhook.process.metrics import WebhookMetrics
from webhook.server.inputs import Inputs


pytestmark = pytest.mark.slow

CONFIG = """\
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {{url: "https://harbor.example", apiUrl: "{url}"}}
probe: {{interval: 500ms, timeout: 500ms, maxAge: 5s}}
"""
REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "6b1c",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "object": {
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a", "image": "nginx:1"}]},
        },
    },
}


def issue(directory, *, overwrite=False):
    issue_into(
        directory,
        ["localhost"],
        [ip_address("127.0.0.1")],
        lifetime=timedelta(days=1),
        now=datetime.now(UTC),
        overwrite=overwrite,
    )


class Webhook:
    """
    A running `harbor-cache serve` and a client that trusts its authority.
    """

    def __init__(self, directory, *, drain=0.0, path=None):
        self.directory = directory
        self.port, self.ops_port = free_port(), free_port()
        self.log = directory / "webhook.log"
        self._drain = drain
        self._environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}

    async def __aenter__(self):
        self.started = time.monotonic()
        log = self.log.open("wb")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "webhook", "serve", "--host", "127.0.0.1"),
                *("--config", self.directory / "config.yaml"),
                *("--tls-cert", self.directory / "tls.crt"),
                *("--tls-key", self.directory / "tls.key"),
                *("--quarantine", self.directory / "quarantine.json"),
                *("--port", str(self.port), "--ops-port", str(self.ops_port)),
                *("--drain-seconds", str(self._drain)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._environment,
        )
        log.close()
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_):
        await self.session.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    async def ready(self):
        await self.until(lambda: self.ops("/readyz"), lambda answer: answer[0] == 200)
        return time.monotonic() - self.started

    async def ops(self, path):
        url = f"http://127.0.0.1:{self.ops_port}{path}"
        try:
            async with self.session.get(url) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def metric(self, line):
        return line in (await self.ops("/metrics"))[1]

    def trust(self):
        return ssl.create_default_context(cafile=str(self.directory / "ca.crt"))

    async def ask(self, session=None):
        """
        Send one review; return the reason that its image got.
        """
        url = f"https://127.0.0.1:{self.port}/mutate"
        async with (session or self.session).post(url, json=REVIEW, ssl=self.trust()) as answer:
            said = (await answer.json())["response"]
            assert said["allowed"] is True
            kept = said["auditAnnotations"].get("kept", "")
            return kept.partition("=")[2] or "rule"

    async def until(self, look, good, seconds=15.0):
        deadline = time.monotonic() + seconds
        while not good(found := await look()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still {found!r}\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)
        return found

    async def until_reason(self, reason):
        await self.until(self.ask, lambda found: found == reason)


@pytest.fixture
async def harbor():
    async with HarborStandIn(strict=False) as stand_in:
        yield stand_in


@pytest.fixture
def directory(tmp_path, harbor):
    issue(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG.format(url=harbor.url))
    return tmp_path


async def test_start_answer_and_stop(directory):
    """
    Ready once Harbor was looked at, rewriting, without the Kubernetes client, and gone with 0.
    """
    spy = directory / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(
        "import atexit, pathlib, sys\n"
        "atexit.register(lambda: pathlib.Path(__file__).with_name('modules')"
        ".write_text(' '.join(sys.modules)))\n"
    )
    async with Webhook(directory, path=spy) as webhook:
        seconds = await webhook.ready()
        reason = await webhook.ask()
        status = json.loads((await webhook.ops("/status"))[1])
        webhook.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(webhook.process.wait, 10)
    modules = (spy / "modules").read_text().split()
    print(f"\nstart to ready with a Harbor that answers: {seconds:.2f} s")

    assert "rule" == reason
    assert 0 == code
    assert "webhook.server.main" in modules
    assert not [name for name in modules if name.partition(".")[0] == "kubernetes"]
    assert "docker.io" in json.dumps(status)
    assert all(json.loads(line) for line in webhook.log.read_text().splitlines())


async def test_start_with_a_black_holed_harbor(directory, harbor):
    """
    A Harbor that drops packets delays readiness by the first round of probes, and no review.
    """
    await harbor.set_fault(Fault.BLACK_HOLE)
    async with Webhook(directory) as webhook:
        seconds = await webhook.ready()
        reason = await webhook.ask()
    print(f"\nstart to ready with a black-holed Harbor: {seconds:.2f} s")

    assert "harbor-unavailable" == reason


async def test_harbor_dies_and_returns(directory, harbor):
    """
    The images are left alone while Harbor is away, and rewritten again when it is back.
    """
    async with Webhook(directory) as webhook:
        await webhook.ready()
        await webhook.until_reason("rule")
        await harbor.stop()
        await webhook.until_reason("harbor-unavailable")
        await harbor.start()
        await webhook.until_reason("rule")

        assert await webhook.metric("harbor_cache_harbor_available 1.0")


async def test_certificate_is_exchanged_and_a_bad_one_is_not(directory):
    """
    A new pair serves new connections; a pair that does not match leaves the old one in place.
    """
    async with Webhook(directory) as webhook:
        await webhook.ready()
        async with aiohttp.ClientSession() as old:
            await webhook.ask(old)
            first = ssl.get_server_certificate(("127.0.0.1", webhook.port))
            shutil.copy(directory / "tls.key", directory / "old.key")
            issue(directory, overwrite=True)
            second = (directory / "tls.crt").read_text()
            seen = await webhook.until(
                lambda: asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", webhook.port)),
                lambda pem: pem != first,
            )
            shutil.copy(directory / "old.key", directory / "tls.key")
            await webhook.until(
                lambda: webhook.metric('harbor_cache_config_reload_total{result="refused"} 1.0'),
                bool,
            )
            after_bad_pair = ssl.get_server_certificate(("127.0.0.1", webhook.port))
            reason = await webhook.ask(old)
        async with aiohttp.ClientSession() as new:
            await webhook.ask(new)

    assert second.split() == seen.split()
    assert second.split() == after_bad_pair.split()
    assert "rule" == reason


async def test_starts_without_a_certificate_and_serves_once_there_is_one(directory):
    """
    On a first install the Secret is filled after the start: unready until then, not dead.
    """
    hidden = directory / "later"
    hidden.mkdir()
    for name in ("tls.crt", "tls.key"):
        (directory / name).rename(hidden / name)
    async with Webhook(directory) as webhook:
        before = await webhook.until(
            lambda: webhook.ops("/readyz"), lambda answer: "certificate" in answer[1]
        )
        for name in ("tls.key", "tls.crt"):
            (hidden / name).rename(directory / name)
        await webhook.ready()
        reason = await webhook.ask()

    assert 503 == before[0]
    assert "rule" == reason


async def test_config_is_read_again_and_a_bad_one_is_refused(directory):
    """
    A change takes effect without a restart; what can't be used leaves the last good one in force.
    """
    config = directory / "config.yaml"
    good = config.read_text()
    async with Webhook(directory) as webhook:
        await webhook.ready()
        await webhook.until_reason("rule")
        for bad in ("paused: [", "", good + "pausd: true\n"):
            config.write_text(bad)
            await asyncio.sleep(1.5)
            assert "rule" == await webhook.ask()
        config.write_text(good + "paused: true\n")
        await webhook.until_reason("paused")

        assert await webhook.metric('harbor_cache_config_reload_total{result="refused"} 3.0')
        assert "pausd: unknown key" in webhook.log.read_text()


async def test_quarantine_is_read_again(directory):
    """
    An image that the controller put into quarantine is left alone, until its time is over.
    """

    def quarantine(**lasting):
        until = datetime.now(UTC) + timedelta(**lasting)
        entry = {"until": until.isoformat(), "reason": "test", "namespace": "x"}
        text = json.dumps({"version": 1, "images": {"docker.io/library/nginx:1": entry}})
        (directory / "quarantine.json").write_text(text)

    async with Webhook(directory) as webhook:
        await webhook.ready()
        await webhook.until_reason("rule")
        quarantine(hours=1)
        await webhook.until_reason("quarantined")
        quarantine(seconds=3)
        await webhook.until_reason("rule")
        (directory / "quarantine.json").write_text("junk")
        await asyncio.sleep(1.5)

        assert "rule" == await webhook.ask()


async def test_quarantine_outlives_a_clock_that_jumps(directory, monkeypatch):
    """
    What is over by a clock set forward is quarantined again when the clock is put right.
    """
    until = datetime.now(UTC) + timedelta(hours=1)
    entry = {"until": until.isoformat(), "reason": "test", "namespace": "x"}
    quarantine = directory / "quarantine.json"
    quarantine.write_text(
        json.dumps({"version": 1, "images": {"docker.io/library/nginx:1": entry}})
    )
    config, certificate, key = (directory / name for name in ("config.yaml", "tls.crt", "tls.key"))
    inputs = Inputs(
        load_config(config),
        WebhookMetrics(),
        config_file=config,
        certificate=FileSource(certificate, key),
        quarantine_file=quarantine,
    )
    counts = []
    for days in (0, 2, 0):

        class Clock(datetime):
            ahead = timedelta(days=days)

            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + cls.ahead

        monkeypatch.setattr("webhook.server.inputs.datetime", Clock)
        await inputs.look()
        counts.append((inputs.status()["quarantined"], len(inputs.availability().quarantined)))

    assert counts == [(1, 1), (0, 0), (1, 1)]


async def test_sigterm_drains(directory):
    """
    After SIGTERM: not ready, still answering with `Connection: close`, then gone with 0.
    """
    async with Webhook(directory, drain=1.5) as webhook:
        await webhook.ready()
        url = f"https://127.0.0.1:{webhook.port}/mutate"
        webhook.process.send_signal(signal.SIGTERM)
        unready = await webhook.until(
            lambda: webhook.ops("/readyz"), lambda answer: answer[0] == 503
        )
        async with webhook.session.post(url, json=REVIEW, ssl=webhook.trust()) as answer:
            goodbye = answer.headers.get("Connection")
        code = await asyncio.to_thread(webhook.process.wait, 10)

    assert "shutting down\n" == unready[1]
    assert "close" == goodbye
    assert 0 == code


def resident_mebibytes(process):
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


async def test_hostile_connections(directory):
    """
    Hundreds of idle, half-sent and broken connections cost little, and reviews go on meanwhile.
    """
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    kinds = {
        "idle": b"",
        "half a header": head + b"X: " + b"a" * 7000,
        "half a small body": head + b"Content-Length: 200000\r\n\r\n" + b"{" * 1000,
        "half a large body": head + b"Content-Length: 9000000\r\n\r\n" + b"{" * 100_000,
        "broken": b"\0" * 100 + b"\r\n\r\n",
    }
    each = 60
    async with Webhook(directory) as webhook:
        await webhook.ready()
        before = resident_mebibytes(webhook.process)
        opened = []
        for sent in kinds.values():
            for _ in range(each):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", webhook.port, ssl=webhook.trust(), server_hostname="localhost"
                )
                writer.write(sent)
                opened.append(writer)
        for _ in range(20):  # No TLS at all.
            _, writer = await asyncio.open_connection("127.0.0.1", webhook.port)
            writer.write(head)
            opened.append(writer)
        reasons = {await webhook.ask() for _ in range(20)}
        alive = (await webhook.ops("/livez"))[0]
        after = resident_mebibytes(webhook.process)
        for writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0.5)
        last = await webhook.ask()
    lines = webhook.log.read_text().splitlines()
    print(f"\n{len(opened)} hostile connections: {before} MiB before, {after} MiB with them")

    assert {"rule"} == reasons
    assert 200 == alive
    assert "rule" == last
    assert all(json.loads(line) for line in lines)
    # asyncio's own 256 KiB per TLS connection would be more than this by themselves.
    assert after - before < len(opened) * 0.25


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("harbor: {url: 'https://h', ulr: x}", "harbor.ulr: unknown key"),
        ("harbor: {url: 'ftp://h'}", "harbor.url: must be a URL"),
        ("a: [", "line 4, column 1: no valid YAML"),
    ],
)
def test_bad_config_is_exit_code_2(tmp_path, text, words):
    """
    A mistake in the config file is named by its key, without a traceback.
    """
    config = tmp_path / "config.yaml"
    config.write_text(f"apiVersion: harbor-cache.io/v1\nkind: Config\n{text}\n")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "webhook", "serve", "--config", config),
            *("--tls-cert", "x", "--tls-key", "y"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert 2 == done.returncode
    assert words in done.stderr
    assert "Traceback" not in done.stderr


async def test_status_tells_what_is_served_and_what_is_refused(directory):
    """
    `/status` says the version, the certificate that is served, and which file is refused and why.
    """

    async def status():
        return json.loads((await webhook.ops("/status"))[1])

    async with Webhook(directory) as webhook:
        await webhook.ready()
        before = await status()
        (directory / "config.yaml").write_text("harbour: {}\n")
        after = await webhook.until(status, lambda found: found["refused"])
        served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", webhook.port))

    assert (__version__, {}) == (before["version"], before["refused"])
    assert before["certificate"].startswith(served)
    assert ["config"] == list(after["refused"])
    assert "harbour: unknown key" in after["refused"]["config"]
