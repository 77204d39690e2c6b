"""
Who gets room for a body, and who has to go for others.
"""

import asyncio

from contextlib import asynccontextmanager

import pytest

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from webhook.server import limits
from webhook.server.limits import MAX_BODY_BYTES, Bodies, BodyTooLargeError, Budget


def body(*chunks, ends=True):
    """
    Return a body of which *chunks* have arrived, and maybe no more will.
    """
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.transport = asyncio.Transport()
    content = StreamReader(protocol, 2**20, loop=loop)
    for chunk in chunks:
        content.feed_data(chunk)
    if ends:
        content.feed_eof()
    return content


async def read(bodies, content, size):
    async with bodies.read(content, size) as found:
        return found


@asynccontextmanager
async def sending(bodies, size, *chunks):
    """
    Have a client that has sent *chunks* of *size* bytes, and then nothing more.
    """
    task = asyncio.create_task(read(bodies, body(*chunks, ends=False), size))
    await asyncio.sleep(0.01)
    yield task
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
def small():
    """
    Have room for 100 bytes of small bodies; who takes longer than 0.2 s sends slowly.
    """
    bodies = Bodies()
    bodies.small = Budget(100, 0.2)
    return bodies


async def test_who_sends_slowly_goes_for_who_sends_promptly(small):
    """
    The room that a slow sender holds is taken away, and its body given up, when another needs it.
    """
    async with sending(small, 200, b"x" * 90) as slow:
        await asyncio.sleep(0.3)
        assert not slow.done()
        prompt = await read(small, body(b"y" * 50, b"z" * 10), 60)

        assert b"y" * 50 + b"z" * 10 == prompt
        with pytest.raises(TimeoutError):
            await slow


async def test_who_sends_promptly_waits_for_others_who_do(small):
    """
    Nobody who has just begun is given up: who comes later waits for the turn.
    """
    async with small.read(body(b"x" * 90), 90):
        waiting = asyncio.create_task(read(small, body(b"y" * 50), 50))
        await asyncio.sleep(0.1)
        assert not waiting.done()

    assert b"y" * 50 == await waiting


async def test_who_sends_slowly_waits_for_nobody(small):
    """
    Where there is no room, a slow sender is given up, and what it held is free again.
    """
    content = body(b"x" * 20, ends=False)
    slow = asyncio.create_task(read(small, content, 200))
    await asyncio.sleep(0.3)
    async with small.read(body(b"y" * 70), 70):
        content.feed_data(b"x" * 20)
        with pytest.raises(TimeoutError):
            await slow

    assert b"z" * 100 == await read(small, body(b"z" * 100), 100)


async def test_what_is_given_up_while_it_waits_holds_nothing(small):
    """
    A client that goes away while it waits for room leaves the room to others.
    """
    async with small.read(body(b"x" * 90), 90), sending(small, 50, b"y" * 50):
        pass

    assert b"z" * 100 == await read(small, body(b"z" * 100), 100)


async def test_large_bodies_do_not_hold_up_small_ones():
    """
    Large bodies get their room before they are read; small ones pass them by.
    """
    bodies = Bodies()
    async with (
        sending(bodies, MAX_BODY_BYTES, b"x"),
        sending(bodies, MAX_BODY_BYTES, b"x"),
        sending(bodies, MAX_BODY_BYTES, b"x"),
        sending(bodies, MAX_BODY_BYTES, b"x"),
    ):
        late = asyncio.create_task(read(bodies, body(b"y" * 1000), MAX_BODY_BYTES))
        small = await read(bodies, body(b"z"), 1)
        waited = not late.done()
        async with asyncio.timeout(5):
            found = await late  # The others send slowly by then.

    assert b"z" == small
    assert waited
    assert b"y" * 1000 == found


@pytest.mark.parametrize("size", [10, limits._LARGE_BODY_BYTES + 1])
async def test_a_body_that_is_longer_than_it_said(size):
    """
    It is refused as soon as that shows, and holds nothing.
    """
    bodies = Bodies()
    with pytest.raises(BodyTooLargeError):
        await read(bodies, body(b"x" * (size + 1), ends=False), size)

    assert not bodies.small.shares
    assert not bodies.large.shares
