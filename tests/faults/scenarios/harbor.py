"""
Faults of Harbor, and of what lies before and behind it.
"""

import asyncio
import json
import ssl

from typing import Final

import trustme

from tests.faults.scenario import Faults
from tests.faults.scenarios.config import changed_config
from tests.faults.stage import Stage
from webhook.demo.standin import Fault, UpstreamState
from webhook.demo.standin.upstream import SimulatedUpstream


__all__ = ["FAULTS"]

FAULTS: Final = Faults()


def _harbor_fault(name: str, fault: Fault) -> None:
    @FAULTS.named(name)
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


@FAULTS.named("Harbor's name is gone")
async def _name_gone(stage: Stage) -> str:
    return await _other_harbor(stage, "http://harbor.invalid")


@FAULTS.named("Harbor's certificate does not verify")
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
    async with changed_config(stage, lambda c: c["harbor"].update(apiUrl=url)):
        down = await stage.until_kept()
        await stage.stays(1.5, hub=False, quay=False)
    up = await stage.until_rewritten()
    return f"left alone after {down:.1f} s, rewritten again after {up:.1f} s"


@FAULTS.named("Harbor flaps every 300 ms")
async def _flapping(stage: Stage) -> str:
    for number in range(16):
        fault = Fault.NONE if number % 2 else Fault.BAD_GATEWAY
        await asyncio.to_thread(stage.harbor.set_fault, fault)
        await asyncio.sleep(0.3)
    return f"rewritten again after {await stage.until_rewritten():.1f} s"


@FAULTS.named("One project is dead")
async def _one_project(stage: Stage) -> str:
    await asyncio.to_thread(stage.harbor.set_fault, Fault.NOT_FOUND, "proxy.quay.io")
    try:
        await stage.until(lambda last: last == {"hub": True, "quay": False})
        await stage.stays(1.5, hub=True, quay=False)
    finally:
        await asyncio.to_thread(stage.harbor.set_fault, Fault.NONE, "proxy.quay.io")
    await stage.until_rewritten()
    return "its images alone were left alone"


@FAULTS.named("An upstream is dead")
async def _upstream(stage: Stage) -> str:
    harbor = stage.harbor.harbor
    upstreams = [u for u in harbor.upstreams.values() if isinstance(u, SimulatedUpstream)]
    for upstream in upstreams:
        upstream.state = UpstreamState.REFUSED
    await asyncio.to_thread(stage.harbor.call, harbor.check_upstreams())
    try:
        await stage.stays(3, hub=True, quay=True)
        known = [json.loads(each.read("/status"))["projects"] for each in stage.replicas]
        if {each["state"] for projects in known for each in projects.values()} != {"cache-only"}:
            raise AssertionError(f"the replicas have not noticed: {known}")
    finally:
        for upstream in upstreams:
            upstream.state = UpstreamState.UP
        await asyncio.to_thread(stage.harbor.call, harbor.check_upstreams())
    return "still rewritten: Harbor's copy may be the only one"
