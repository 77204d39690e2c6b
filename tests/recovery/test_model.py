"""
The exhaustive check: in no state of a small world is a container stranded, moved for ever, or hit.
"""

import math
import time

from dataclasses import replace
from pathlib import Path

import pytest

from tests.recovery.world import CALMS, WAITS, Controller, Search, Standstill, shortest
from webhook.recovery.ladder import Memory


pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "recover.md"
LADDER = WAITS.longest_rung + WAITS.longest_closed + 2 * (WAITS.back_off + 1)
"""
So many ticks a container may wait for its turn: rung, closed side, and an attempt on either side.
"""

DOUBLINGS = 6
TICKS = 2**DOUBLINGS
MOST_MOVES = 1 + math.ceil(math.log2(WAITS.longest_rung)) + TICKS / WAITS.longest_rung
"""
While the rungs grow, moves grow with the logarithm of time; on the last rung they keep its pace.
"""


@pytest.fixture(scope="module")
def search():
    """
    Return the search with the controller as it is.
    """
    began = time.monotonic()
    found = Search(Controller()).run()
    print(f"{len(found.came):,} states in {time.monotonic() - began:.1f} s")
    return found


@pytest.fixture(scope="module")
def standstills(search):
    """
    Return what becomes of all states in every world that holds still.
    """
    return [Standstill(search, calm) for calm in CALMS]


def test_no_pull_that_may_succeed_is_hit(search):
    """
    A container that runs, or a pull in progress, is hit only where Harbor is known to be down.
    """
    stories = [search.story(world, step.what, step.wrong) for world, step in search.wrong[:1]]

    assert [] == stories


def test_no_container_is_stranded(standstills):
    """
    Wherever the world stops with a source that serves the image, the container runs in time.
    """
    slowest = 0
    for still in standstills:
        ticks, stranded = still.slowest()
        assert not stranded, still.tell(shortest(still.search, stranded))
        slowest = max(slowest, ticks)
    print(f"the slowest container runs after {slowest} ticks of at most {LADDER:.0f}")

    assert slowest <= LADDER


def test_moves_are_few(standstills):
    """
    While the world holds still a container is not moved more often than the ladder allows.
    """
    for still in standstills:
        moves, world = still.most_moves(DOUBLINGS)

        assert moves <= MOST_MOVES, still.tell(world, TICKS)


def found_stranded(search):
    """
    Return the first story of a container that is stranded, or an empty string.
    """
    for calm in CALMS:
        still = Standstill(search, calm)
        _, stranded = still.slowest()
        if stranded:
            return still.tell(shortest(search, stranded))
    return ""


def test_without_back_off_moves_are_many():
    """
    First mutation: the rungs do not grow.
    """
    waits = replace(WAITS, rung=0.0, longest_rung=0.0)
    search = Search(Controller(waits)).run()

    assert any(Standstill(search, calm).most_moves(DOUBLINGS)[0] > MOST_MOVES for calm in CALMS)


def test_one_move_each_way_strands_a_container(monkeypatch):
    """
    Second mutation: a counter instead of a ladder.
    """
    permits = Memory.permits
    monkeypatch.setattr(Memory, "permits", lambda self, *a: self.moves < 2 and permits(self, *a))

    story = found_stranded(Search(Controller()).run())
    print(story)

    assert "MOVED" in story


def test_closing_for_ever_strands_a_container():
    """
    Third mutation: a source that has spoken is never asked again.
    """
    waits = replace(WAITS, closed=1e6, longest_closed=1e6)

    story = found_stranded(Search(Controller(waits)).run())
    print(story)

    assert "MOVED" in story


def test_patching_outside_of_the_quiet_window_hits_a_pull(monkeypatch):
    """
    Fourth mutation: a patch is sent whenever the container waits.
    """
    monkeypatch.setattr(Memory, "is_quiet", lambda *_: True)

    search = Search(Controller()).run(until_wrong=True)
    [(world, step), *_] = search.wrong
    print(search.story(world, step.what, step.wrong))

    assert "is hit" in step.wrong


def test_stale_as_unavailable_hits_a_pull():
    """
    Fifth mutation: what is not known counts as unavailable.
    """
    search = Search(Controller(stale_is_unavailable=True)).run(until_wrong=True)
    [(world, step), *_] = search.wrong
    print(search.story(world, step.what, step.wrong))

    assert "is hit" in step.wrong


def test_the_page_has_the_figures(search):
    """
    recover.md says how many states there are, and which mutations are caught.
    """
    text = PAGE.read_text()

    assert f"{len(search.came):,} states" in text
    assert "five mutations" in text
