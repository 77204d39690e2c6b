"""
The faults, one function each: it breaks something, looks on, and puts it right again.

A function that returns has seen what it expects; whether a Pod was refused is judged for all.
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
import ssl

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme

from tests.faults.stage import Stage
from tests.kube.balancer import Backend
from tests.kube.webhook import WebhookProcess
from webhook.demo.cluster import free_port
from webhook.standin import Fault, UpstreamState
from webhook.standin.faults import BlackHole
from webhook.standin.upstream import SimulatedUpstream


__all__ = ["SCENARIOS", "Scenario"]

Scenario = Callable[[Stage], Awaitable[str]]
SCENARIOS: Final[dict[str, Scenario]] = {}

_MIB: Final = 1024 * 1024


def _scenario(name: str) -> Callable[[Scenario], Scenario]:
    def keep(function: Scenario) -> Scenario:
        SCENARIOS[name] = function
        return function

    return keep


def _harbor_fault(name: str, fault: Fault) -> None:
    @_scenario(name)
    async def run(stage: Stage) -> str:
        await asyncio.to_thread(stage.harbor.set_fault, fault)
        try:
            down = await stage.until_kept()
            await stage.stays(1.5, hub=False, quay=False)
        finally:
            await asyncio.to_thread(stage.harbor.set_fault, Fault.NONE)
        up = await stage.until_rewritten()
        return f"left alone after {down:.1f} s, rewritten again after {up:.1f} s"


_harbor_fault("Harbor refuses connections", Fault.REFUSED)
_harbor_fault("Harbor is a black hole", Fault.BLACK_HOLE)
_harbor_fault("Harbor hangs", Fault.HANG)
_harbor_fault("Harbor answers 502", Fault.BAD_GATEWAY)
_harbor_fault("Harbor answers 500", Fault.SERVER_ERROR)
_harbor_fault("Harbor is slow", Fault.SLOW)
_harbor_fault("Harbor answers 401", Fault.UNAUTHORIZED)
_harbor_fault("Harbor answers 200 with HTML", Fault.HTML)
_harbor_fault("Harbor redirects", Fault.REDIRECT)
_harbor_fault("Harbor's answer never ends", Fault.ENDLESS)


@_scenario("Harbor's name is gone")
async def _name_gone(stage: Stage) -> str:
    return await _other_harbor(stage, "http://harbor.invalid")


@_scenario("Harbor's certificate does not verify")
async def _wrong_certificate(stage: Stage) -> str:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context)
    try:
        return await _other_harbor(
            stage, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        )
    finally:
        server.close()


async def _other_harbor(stage: Stage, url: str) -> str:
    async with _config(stage, lambda c: c["harbor"].update(apiUrl=url)):
        down = await stage.until_kept()
        await stage.stays(1.5, hub=False, quay=False)
    up = await stage.until_rewritten()
    return f"left alone after {down:.1f} s, rewritten again after {up:.1f} s"


@_scenario("Harbor flaps every 300 ms")
async def _flapping(stage: Stage) -> str:
    for number in range(16):
        fault = Fault.NONE if number % 2 else Fault.BAD_GATEWAY
        await asyncio.to_thread(stage.harbor.set_fault, fault)
        await asyncio.sleep(0.3)
    return f"rewritten again after {await stage.until_rewritten():.1f} s"


@_scenario("One project is dead")
async def _one_project(stage: Stage) -> str:
    await asyncio.to_thread(stage.harbor.set_fault, Fault.NOT_FOUND, "proxy.quay.io")
    try:
        await stage.until(lambda last: last == {"hub": True, "quay": False})
        await stage.stays(1.5, hub=True, quay=False)
    finally:
        await asyncio.to_thread(stage.harbor.set_fault, Fault.NONE, "proxy.quay.io")
    await stage.until_rewritten()
    return "its images alone were left alone"


@_scenario("An upstream is dead")
async def _upstream(stage: Stage) -> str:
    harbor = stage.harbor.harbor
    upstreams = [u for u in harbor.upstreams.values() if isinstance(u, SimulatedUpstream)]
    for upstream in upstreams:
        upstream.state = UpstreamState.REFUSED
    await asyncio.to_thread(stage.harbor.call, harbor.check_upstreams())
    try:
        await stage.stays(3, hub=True, quay=True)
    finally:
        for upstream in upstreams:
            upstream.state = UpstreamState.UP
        await asyncio.to_thread(stage.harbor.call, harbor.check_upstreams())
    return "still rewritten: Harbor's copy may be the only one"


@_scenario("A replica is killed (SIGKILL)")
async def _sigkill(stage: Stage) -> str:
    replica = stage.replicas[0]
    await asyncio.to_thread(replica.program.kill)
    await asyncio.sleep(2)
    await stage.stays(1, hub=True, quay=True)
    await asyncio.to_thread(replica.start)
    await stage.balancer.all_ready()
    return "the other one goes on"


@_scenario("A replica hangs (SIGSTOP)")
async def _sigstop(stage: Stage) -> str:
    pid = stage.replicas[0].program.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(8)
    finally:
        os.kill(pid, signal.SIGCONT)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    return "a review that meets it waits for the timeout of 2 s at most"


@_scenario("A replica is a black hole")
async def _black_hole_replica(stage: Stage) -> str:
    port = free_port()
    hole = BlackHole("127.0.0.1", port)
    backend = Backend(port, f"{stage.replicas[1].ops_url}/readyz")
    stage.balancer.counts[backend] = 0
    stage.balancer.backends.append(backend)
    try:
        await stage.balancer.all_ready()
        await asyncio.to_thread(stage.replicas[0].stop)  # Its connections have to go elsewhere.
        await asyncio.sleep(6)
    finally:
        stage.balancer.backends.remove(backend)
        stage.balancer.ready.discard(backend)
        hole.close()
        await asyncio.to_thread(stage.replicas[0].start)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    return "a review that meets it waits for the timeout of 2 s at most"


@_scenario("A replica runs out of memory")
async def _memory_limit(stage: Stage) -> str:
    replica = stage.replicas[0]
    pid = replica.program.pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used + 8 * _MIB, used + 8 * _MIB))
    answers = await asyncio.gather(
        *(_post(replica.port, _large_review()) for _ in range(8)), return_exceptions=True
    )
    await asyncio.sleep(1)
    alive = replica.program.running
    await asyncio.to_thread(replica.program.kill)
    await asyncio.to_thread(replica.start)
    await stage.balancer.all_ready()
    await stage.until_rewritten()
    failed = sum(isinstance(answer, BaseException) for answer in answers)
    return (
        f"of 8 large reviews {failed} found no answer; the process {'lived' if alive else 'died'}"
    )


@_scenario("All replicas are gone")
async def _all_gone(stage: Stage) -> str:
    for replica in stage.replicas:
        await asyncio.to_thread(replica.program.kill)
    down = await stage.until_kept()
    await stage.stays(2, hub=False, quay=False)
    await asyncio.gather(*(asyncio.to_thread(each.start) for each in stage.replicas))
    await stage.balancer.all_ready()
    up = await stage.until_rewritten()
    return f"left alone after {down:.1f} s, rewritten again after {up:.1f} s"


@_scenario("Replicas restart in turn (SIGTERM)")
async def _rolling(stage: Stage) -> str:
    before = stage.tally.created - stage.tally.rewritten
    for replica in stage.replicas:
        await asyncio.to_thread(replica.stop)
        await asyncio.to_thread(replica.start)
        await stage.balancer.all_ready()
    missed = stage.tally.created - stage.tally.rewritten - before
    if missed:
        raise AssertionError(f"{missed} Pods were not rewritten")
    return "every Pod was rewritten"


@_scenario("An expired certificate is written")
async def _expired(stage: Stage) -> str:
    long_ago = datetime.now(UTC) - timedelta(days=1)
    pair = stage.authority.issue_cert("127.0.0.1", not_after=long_ago)
    return await _bad_pair(stage, pair, pair)


@_scenario("A certificate with another key is written")
async def _mismatch(stage: Stage) -> str:
    first, second = (stage.authority.issue_cert("127.0.0.1") for _ in range(2))
    return await _bad_pair(stage, first, second)


async def _bad_pair(stage: Stage, certificate: trustme.LeafCert, key: trustme.LeafCert) -> str:
    before = [
        (each.certificate_file, each.certificate_file.read_bytes()) for each in stage.replicas
    ]
    before += [(each.key_file, each.key_file.read_bytes()) for each in stage.replicas]
    for replica in stage.replicas:
        replica.certificate_file.write_bytes(certificate.cert_chain_pems[0].bytes())
        replica.key_file.write_bytes(key.private_key_pem.bytes())
    try:
        await asyncio.sleep(2.5)  # Until it has been looked at.
        await _shake_hands_again(stage)
        await stage.stays(1, hub=True, quay=True)
    finally:
        for file, content in before:
            file.write_bytes(content)
        await asyncio.sleep(1.5)
    await stage.until_rewritten()
    return "refused; the last good pair stays"


@_scenario("The certificate authority is exchanged")
async def _rotation(stage: Stage) -> str:
    before = stage.tally.created - stage.tally.rewritten
    authority = trustme.CA()
    old, new = stage.authority.cert_pem.bytes(), authority.cert_pem.bytes()
    await stage.set_ca_bundle(old + new)
    await asyncio.sleep(1.5)
    for replica in stage.replicas:
        pair = authority.issue_cert("127.0.0.1")
        replica.certificate_file.write_bytes(pair.cert_chain_pems[0].bytes())
        replica.key_file.write_bytes(pair.private_key_pem.bytes())
    await asyncio.sleep(2.5)
    await stage.set_ca_bundle(new)
    await asyncio.sleep(1.5)
    stage.authority = authority
    missed = stage.tally.created - stage.tally.rewritten - before
    if missed:
        raise AssertionError(f"{missed} Pods were not rewritten")
    return "every Pod was rewritten"


@_scenario("The API server restarts")
async def _api_server(stage: Stage) -> str:
    await asyncio.to_thread(stage.cluster.stop_api_server)
    await asyncio.to_thread(stage.cluster.start_api_server)
    stage.tally.last.clear()
    await stage.until(lambda last: len(last) == 2 and all(last.values()))
    return "rewritten again at once"


@_scenario("The config is corrupted")
async def _corrupted(stage: Stage) -> str:
    return await _bad_config(stage, "harbor: [")


@_scenario("The config is emptied")
async def _emptied(stage: Stage) -> str:
    return await _bad_config(stage, "")


async def _bad_config(stage: Stage, text: str) -> str:
    before = [(each.config_file, each.config_file.read_text()) for each in stage.replicas]
    for replica in stage.replicas:
        replica.config_file.write_text(text)
    try:
        await stage.stays(3, hub=True, quay=True)
    finally:
        for file, content in before:
            file.write_text(content)
    return "refused; the last good one stays"


@_scenario("The config is replaced (paused)")
async def _paused(stage: Stage) -> str:
    async with _config(stage, lambda c: c.update(paused=True)):
        down = await stage.until_kept()
        await stage.stays(1, hub=False, quay=False)
    up = await stage.until_rewritten()
    return f"left alone after {down:.1f} s, rewritten again after {up:.1f} s"


@_scenario("200 clients send a byte a second")
async def _slow_loris(stage: Stage) -> str:
    request = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    opened = [await _connect(stage.replicas[0].port) for _ in range(200)]
    for _, writer in opened:
        writer.write(request)
    for _ in range(4):
        for _, writer in opened:
            writer.write(b"X")
        await stage.stays(1, hub=True, quay=True)
    for _, writer in opened:
        writer.transport.abort()
    return "the API server's reviews go through"


@_scenario("1,000 idle connections")
async def _idle(stage: Stage) -> str:
    replica = stage.replicas[0]
    await _restart(stage, replica)
    opened = [await _connect(replica.port) for _ in range(1000)]
    await stage.stays(2, hub=True, quay=True)
    memory = _peak(replica.program.pid)
    for _, writer in opened:
        writer.transport.abort()
    if memory > 256:
        raise AssertionError(f"peak memory {memory:.0f} MiB of 256")
    return f"peak memory {memory:.0f} MiB"


@_scenario("20 reviews of 9 MB at once")
async def _large(stage: Stage) -> str:
    replica = stage.replicas[0]
    await _restart(stage, replica)
    body = _large_review()
    answers = await asyncio.gather(*(_post(replica.port, body) for _ in range(20)))
    memory = _peak(replica.program.pid)
    if set(answers) != {200} or memory > 256:
        raise AssertionError(f"answers {set(answers)}, peak memory {memory:.0f} MiB of 256")
    return f"all answered; peak memory {memory:.0f} MiB"


@asynccontextmanager
async def _config(stage: Stage, change: Callable[[dict], object]) -> AsyncIterator[None]:
    before = [(each.config_file, each.config_file.read_text()) for each in stage.replicas]
    for file, content in before:
        config = json.loads(content)
        change(config)
        file.write_text(json.dumps(config))
    try:
        yield
    finally:
        for file, content in before:
            file.write_text(content)


async def _shake_hands_again(stage: Stage) -> None:
    """
    Make the API server open new connections: another bundle, if only by a line end, is another client.
    """
    await stage.set_ca_bundle(stage.authority.cert_pem.bytes() + b"\n")
    await asyncio.sleep(1)


async def _restart(stage: Stage, replica: WebhookProcess) -> None:
    await asyncio.to_thread(replica.stop)
    await asyncio.to_thread(replica.start)
    await stage.balancer.all_ready()


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def _post(port: int, body: bytes) -> int:
    reader, writer = await _connect(port)
    try:
        head = f"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(30):
            await writer.drain()
            return int((await reader.readline()).split()[1])
    finally:
        with contextlib.suppress(OSError):
            writer.transport.abort()


def _large_review() -> bytes:
    pod = {
        "metadata": {},
        "spec": {"containers": [{"name": "a", "image": "nginx", "args": ["x" * 9_000_000]}]},
    }
    request = {
        "uid": "1",
        "kind": {"version": "v1", "kind": "Pod"},
        "resource": {"version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "object": pod,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
