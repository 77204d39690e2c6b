"""
Whose turn it is.
"""

import asyncio

import pytest

from webhook.controller.pace import Pace, Turns


async def drain(turns, count):
    """
    Take so many turns, with nothing to be said about any, and return the namespaces.
    """
    taken = []
    for _ in range(count):
        namespace, uid = await turns.next()
        turns.done(namespace, uid, refused=None)
        taken.append(namespace)
    return taken


async def test_namespaces_take_turns():
    """
    300 Pods of one namespace do not hold up the three of another.
    """
    turns = Turns()
    for number in range(300):
        turns.put("crowd", f"crowd-{number}")
    for number in range(3):
        turns.put("shop", f"shop-{number}")

    assert ["crowd", "shop"] * 3 + ["crowd"] * 297 == await drain(turns, 303)
    assert 0 == len(turns)


async def test_a_namespace_with_trouble_comes_last_and_one_at_a_time():
    """
    A webhook that takes its time to refuse holds up one worker, and not all.
    """
    turns = Turns()
    for number in range(10):
        turns.put("refusing", f"refusing-{number}")
    first = await turns.next()
    turns.done(*first, refused=True)
    slow = await turns.next()
    turns.put("shop", "shop-0")

    assert ("shop", "shop-0") == await turns.next()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await turns.next()
    turns.done(*slow, refused=False)
    assert "refusing" == (await turns.next())[0]
    assert "refusing" == (await turns.next())[0]


async def test_who_waits_is_told():
    """
    A worker sleeps until there is something to do.
    """
    turns = Turns()
    waiting = asyncio.create_task(turns.next())
    await asyncio.sleep(0)
    turns.put("shop", "a")

    assert ("shop", "a") == await waiting
    assert "a" in turns
    turns.done("shop", "a", refused=False)
    assert "a" not in turns


async def test_a_turn_that_is_given_back_costs_nothing():
    """
    What was refused pulls no image, so the next one need not wait for it.
    """
    now = 0.0
    pace = Pace(1000.0, clock=lambda: now)
    for _ in range(50):
        await pace.turn()
        pace.give_back()

    assert pace._next <= 50 * 0.0002 + 0.0012
