"""
What is known of Harbor, as a value and as JSON.
"""

from datetime import UTC, datetime

from webhook.harbor.status import Condition, HarborStatus
from webhook.image.availability import State
from webhook.image.quarantine import Entry, Quarantine


SINCE = datetime(2026, 11, 25, 9, tzinfo=UTC)
WELL = Condition(State.AVAILABLE, SINCE, 61.04)
STATUS = HarborStatus("https://h", 1.23456, 30.0, WELL, ("redis",), {"a": WELL, "b": WELL})


def test_as_json():
    """
    Since when and why, of Harbor and of every project: what `/status` shows.
    """
    well = {
        "state": "available",
        "since": "2026-11-25T09:00:00Z",
        "seconds": 61.0,
        "cause": "",
        "why": "",
    }

    assert {
        "url": "https://h",
        "fresh": True,
        "ageSeconds": 1.235,
        "maxAgeSeconds": 30.0,
        "harbor": {**well, "degraded": ["redis"]},
        "projects": {"a": well, "b": well},
    } == STATUS.as_json()


def test_a_suspended_project_is_unavailable():
    """
    It says so, until when and why; a project that the config does not know is not shown.
    """
    until = datetime(2026, 11, 25, 10, tzinfo=UTC)
    quarantine = Quarantine(projects={"a": Entry(until, "5 images failed"), "gone": Entry(until)})
    shown = STATUS.with_suspended(quarantine)

    assert {"a", "b"} == shown.projects.keys()
    assert WELL == shown.projects["b"]
    assert (State.UNAVAILABLE, "suspended") == (
        shown.projects["a"].state,
        shown.projects["a"].cause,
    )
    assert "suspended by the controller until 2026-11-25T10:00:00Z: 5 images failed" == (
        shown.projects["a"].why
    )
