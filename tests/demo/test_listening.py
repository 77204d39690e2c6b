"""
Servers that are switched off while connections come in.
"""

import asyncio
import gc
import socket
import warnings

import pytest

from aiohttp import web

from webhook.demo.listening import Listening


async def _handle(request):
    return web.Response(text=request.path)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("turns", range(5))
async def test_no_socket_is_lost_where_connections_come_in(turns, at_once):
    """
    Whenever a server is closed, each connection that it has accepted by then is closed, too.
    """
    listening = Listening(web.Server(_handle))
    port = await listening.open("127.0.0.1", 0)
    clients = [socket.socket() for _ in range(6)]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for client in clients:
            client.setblocking(False)  # noqa: FBT003
            client.connect_ex(("127.0.0.1", port))
        for _ in range(turns):
            await asyncio.sleep(0)
        await listening.close(at_once=at_once)
        await asyncio.sleep(0.05)
        gc.collect()
    for client in clients:
        client.close()

    assert [] == [str(each.message) for each in seen if "unclosed <socket" in str(each.message)]


async def test_the_port_is_free_again():
    """
    What was closed can be opened by another on the same port.
    """
    first, second = Listening(web.Server(_handle)), Listening(web.Server(_handle))
    port = await first.open("127.0.0.1", 0)
    await first.close()

    assert port == await second.open("127.0.0.1", port)
    await second.close()
