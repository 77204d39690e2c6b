from datetime import UTC, datetime, timedelta

import pytest

from webhook.errors import QuarantineError
from webhook.image.availability import Availability, State
from webhook.image.quarantine import EMPTY, Entry, Quarantine


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
BOTH = Quarantine(
    {"docker.io/library/nginx:1": Entry(LATER, "two nodes failed", "shop")},
    {"proxy.gcr.io": Entry(LATER, "5 images failed")},
)


def test_what_is_written_is_read_again():
    """
    The controller finds after a restart what it wrote before.
    """
    assert Quarantine.read(BOTH.write()) == BOTH


def test_the_form_is_the_documented_one():
    """
    The file has the form that the webhook's documentation shows.
    """
    text = (
        '{"version": 1, "images": {"a/b:1": {"until": "2026-11-24T13:00:00Z", "reason": "r",'
        ' "namespace": "n"}}, "projects": {"p": {"until": "2026-11-24T13:00:00Z"}}}'
    )

    assert Quarantine({"a/b:1": Entry(LATER, "r", "n")}, {"p": Entry(LATER)}) == Quarantine.read(
        text
    )


def test_an_empty_file_is_an_empty_quarantine():
    """
    The ConfigMap is empty until something fails.
    """
    assert Quarantine.read("\n") == EMPTY


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', '{"version": 2}', "{}", "[" * 100_000])
def test_garbage_is_refused(text):
    """
    A file that is nothing of ours is an error, so that its reader keeps the last good one.
    """
    with pytest.raises(QuarantineError):
        Quarantine.read(text)


def test_an_entry_that_can_not_be_read_is_passed_over():
    """
    A slip of the hand in one entry does not lose the others.
    """
    text = (
        '{"version": 1, "projects": [], "images": {"good": {"until": "2026-11-24T13:00:00Z"},'
        ' "a": 1, "b": {}, "c": {"until": "soon"}, "d": {"until": 5}}}'
    )

    assert Quarantine({"good": Entry(LATER)}) == Quarantine.read(text)


def test_a_time_without_a_zone_is_utc():
    """
    Whoever writes an entry by hand may leave the zone out.
    """
    text = '{"version": 1, "images": {"a": {"until": "2026-11-24T13:00:00"}}}'

    assert Quarantine({"a": Entry(LATER)}) == Quarantine.read(text)


def test_entries_end():
    """
    An entry counts until its time, and not at it.
    """
    assert BOTH.at(LATER) == EMPTY
    assert BOTH.at(LATER - timedelta(seconds=1)) == BOTH


def test_it_is_laid_over_what_probes_say():
    """
    A project that nodes can't pull from is unavailable, whatever probes find.
    """
    seen = Availability.of_all(("proxy.docker.io", "proxy.gcr.io"))

    result = BOTH.onto(seen, NOW)

    assert State.UNAVAILABLE is result.project("proxy.gcr.io")
    assert State.AVAILABLE is result.project("proxy.docker.io")
    assert frozenset({"docker.io/library/nginx:1"}) == result.quarantined
    assert seen == BOTH.onto(seen, LATER)
