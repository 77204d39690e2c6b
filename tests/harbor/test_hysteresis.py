"""
From findings to states.
"""

import itertools

import pytest

from webhook.harbor.hysteresis import Finding, Thresholds, Track
from webhook.image.availability import State


UP = Finding(State.AVAILABLE)
DOWN = Finding(State.UNAVAILABLE, "refused", "the connection is refused")
CACHE = Finding(State.CACHE_ONLY, "upstream-unhealthy", "…")
THRESHOLDS = Thresholds(failures=2, successes=2, probation=60.0)


SILENT = Finding(State.UNAVAILABLE, "timeout", "no answer within 2 s", answered=False)


def states(findings, thresholds=THRESHOLDS, step=5.0):
    track, seen = Track(), []
    for number, finding in enumerate(findings):
        track = track.after(finding, number * step, thresholds)
        seen.append(track.state.value)
    return seen


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([UP], ["available"]),
        ([CACHE], ["cache-only"]),
        ([DOWN, DOWN], ["unknown", "unavailable"]),
        ([DOWN, UP], ["unknown", "available"]),
        ([UP, DOWN, UP, DOWN], ["available"] * 4),
        ([UP, DOWN, DOWN], ["available", "available", "unavailable"]),
        ([DOWN, DOWN, UP, UP], ["unknown", "unavailable", "unavailable", "available"]),
        ([DOWN, DOWN, UP, CACHE], ["unknown", "unavailable", "unavailable", "cache-only"]),
        ([UP, CACHE, CACHE], ["available", "available", "cache-only"]),
        ([CACHE, UP, UP], ["cache-only", "cache-only", "available"]),
        ([UP, CACHE, DOWN, DOWN], ["available", "available", "available", "unavailable"]),
        ([CACHE, DOWN, UP, DOWN], ["cache-only"] * 4),
    ],
)
def test_it_takes_as_many_findings_in_a_row_as_the_thresholds_say(findings, expected):
    """
    One success is enough from unknown; all other changes take the thresholds' number in a row.
    """
    assert expected == states(findings)


def test_a_relapse_makes_the_next_recovery_harder():
    """
    Who fails again while on probation needs twice as many successes the next time.
    """
    first = [DOWN, DOWN, UP, UP]

    assert "available" == states([*first, DOWN, DOWN, UP, UP, UP, UP])[-1]
    assert "unavailable" == states([*first, DOWN, DOWN, UP, UP, UP])[-1]


def test_a_recovery_that_held_is_forgotten():
    """
    After its probation a failure counts as the first one again.
    """
    assert "available" == states([DOWN, DOWN, UP, UP, *[UP] * 12, DOWN, DOWN, UP, UP])[-1]


def test_flapping_does_not_reach_decisions():
    """
    A Harbor that flaps for two minutes changes our mind a few times only, and ends as unavailable.
    """
    flapping = [DOWN, DOWN, UP, UP, UP] * 24
    seen = states(flapping, step=1.0)
    changes = sum(before != after for before, after in itertools.pairwise(seen))
    print(f"{len(flapping)} findings, 48 changes of Harbor, {changes} of ours")

    assert changes <= 4
    assert "unavailable" == seen[-1]


def test_since_is_when_the_state_began():
    """
    Findings that change nothing leave the moment at which a state began.
    """
    track = Track().after(UP, 1.0, THRESHOLDS).after(DOWN, 2.0, THRESHOLDS)
    track = track.after(DOWN, 3.0, THRESHOLDS).after(DOWN, 4.0, THRESHOLDS)

    assert (State.UNAVAILABLE, 3.0, DOWN) == (track.state, track.since, track.last)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([UP, SILENT], [("available", "available"), ("available", "unavailable")]),
        ([CACHE, SILENT], [("cache-only", "cache-only"), ("cache-only", "unavailable")]),
        (
            [UP, SILENT, UP],
            [*[("available", s) for s in ("available", "unavailable")], ("available",) * 2],
        ),
        ([UP, DOWN], [("available", "available")] * 2),
        ([SILENT], [("unknown", "unknown")]),
        (
            [UP, SILENT, DOWN],
            [("available",) * 2, ("available", "unavailable"), ("unavailable",) * 2],
        ),
    ],
)
def test_no_answer_keeps_new_images_at_once(findings, expected):
    """
    One look without an answer changes what new images are decided from, and nothing that is held.
    """
    track, seen = Track(), []
    for number, finding in enumerate(findings):
        track = track.after(finding, number * 5.0, THRESHOLDS)
        seen.append((track.state.value, track.for_new_images.value))

    assert expected == seen
