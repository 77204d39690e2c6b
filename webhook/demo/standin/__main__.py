"""
The stand-in as a process: `python -m webhook.demo.standin --port 0 --control-port 0`.

Its first line of output is a JSON object with `url` and `control`.  The control port takes what
tests want to change:

- ``POST /fault`` ``{"fault": "hang", "project": null}``
- ``POST /components`` ``{"down": ["registry"]}``
- ``POST /upstream`` ``{"project": "proxy.docker.io", "state": "refused"}``
- ``POST /check`` marks the endpoints healthy or unhealthy, as Harbor does every five minutes
- ``GET /requests`` returns what was asked, ``DELETE /requests`` forgets it
"""

import asyncio
import dataclasses
import json
import signal
import ssl

from pathlib import Path

import click

from aiohttp import web

from webhook.demo.standin import Fault, HarborStandIn, UpstreamState
from webhook.demo.standin.upstream import SimulatedUpstream, Upstream


__all__ = ["main"]


def _control(harbor: HarborStandIn) -> web.Application:
    kept: dict[str, Upstream] = {}

    async def fault(request: web.Request) -> web.Response:
        wanted = await request.json()
        await harbor.set_fault(Fault(wanted["fault"]), wanted.get("project"))
        return web.json_response({"url": harbor.url})

    async def components(request: web.Request) -> web.Response:
        harbor.down = set((await request.json())["down"])
        return web.json_response({"down": sorted(harbor.down)})

    async def upstream(request: web.Request) -> web.Response:
        wanted = await request.json()
        project = harbor.state.project(wanted["project"])
        if project is None or project.registry_id is None:
            raise web.HTTPNotFound
        endpoint = harbor.state.endpoints[project.registry_id]
        state = UpstreamState(wanted["state"])
        held = kept.setdefault(endpoint.asks, harbor.upstream(endpoint))
        if isinstance(held, SimulatedUpstream):
            held.state = state
        elif state is UpstreamState.UP:
            harbor.upstreams[endpoint.asks] = held
        else:  # A real registry is put aside, and one that behaves as wanted put in its place.
            harbor.upstreams[endpoint.asks] = SimulatedUpstream(state=state)
        return web.json_response({"state": state})

    async def check(_: web.Request) -> web.Response:
        await harbor.check_upstreams()
        return web.json_response({e.name: e.status for e in harbor.state.endpoints.values()})

    async def requests(_: web.Request) -> web.Response:
        return web.json_response([dataclasses.asdict(seen) for seen in harbor.requests])

    async def forget(_: web.Request) -> web.Response:
        harbor.requests.clear()
        return web.Response()

    application = web.Application()
    application.router.add_post("/fault", fault)
    application.router.add_post("/components", components)
    application.router.add_post("/upstream", upstream)
    application.router.add_post("/check", check)
    application.router.add_get("/requests", requests)
    application.router.add_delete("/requests", forget)
    return application


async def _serve(harbor: HarborStandIn, control_port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(_control(harbor), access_log=None)
    await runner.setup()
    try:
        async with harbor:
            await web.TCPSite(runner, "127.0.0.1", control_port).start()
            control = f"http://127.0.0.1:{runner.addresses[0][1]}"
            click.echo(json.dumps({"url": harbor.url, "control": control}))
            await stop.wait()
    finally:
        await runner.cleanup()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port; 0 takes a free one.")
@click.option("--control-port", default=0, show_default=True, help="Port of the control API.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate, for HTTPS.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key.")
@click.option(
    "--forward",
    multiple=True,
    metavar="PROJECT=URL",
    help="A real registry that serves a project; may be given more than once.",
)
def main(  # noqa: PLR0917 - click hands them over by name
    host: str,
    port: int,
    control_port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    forward: tuple[str, ...],
) -> None:
    """
    Answer like a Harbor 2.15 that holds the four usual proxy projects.
    """
    tls = None
    if tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(tls_cert, tls_key)
    pairs = dict(pair.split("=", 1) for pair in forward)
    harbor = HarborStandIn(host=host, port=port, tls=tls, strict=False, forward=pairs)
    asyncio.run(_serve(harbor, control_port))


if __name__ == "__main__":
    main()
