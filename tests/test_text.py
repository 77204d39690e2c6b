from datetime import UTC, datetime, timedelta, timezone

import pytest

from webhook.text import printable, read_timestamp, timestamp


def test_plain_text_is_unchanged():
    """What prints already stays as it is, other scripts included."""

    assert "registry/имя:1" == printable("registry/имя:1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\r\t", r"a\nb\r\t"),
        ("a\x7fb\x9bc", r"a\x7fb\x9bc"),
        ("a\u202eb\u200bc", r"a\u202eb\u200bc"),
        ("a\udc80", r"a\udc80"),
    ],
)
def test_what_does_not_print_is_escaped(text, expected):
    """Control characters, bidirectional overrides and broken text can't reach a terminal."""

    assert expected == printable(text)


def test_long_text_is_cut():
    """A megabyte in an image field does not flood the screen."""

    assert "aaaa…" == printable("a" * 1_000_000, limit=5)


def test_a_timestamp_is_written_in_utc():
    """
    Whatever its zone, a moment is written as Kubernetes writes it, and read back as the same one.
    """
    moment = datetime(2026, 11, 25, 11, 30, 1, tzinfo=timezone(timedelta(hours=2)))
    text = timestamp(moment)

    assert "2026-11-25T09:30:01Z" == text
    assert moment == read_timestamp(text)
    assert "2026-11-25T09:30:01.000000Z" == timestamp(moment, "microseconds")


def test_a_timestamp_without_a_zone_is_in_utc():
    """
    A hand that edits a ConfigMap forgets the zone: the moment can be compared all the same.
    """
    assert datetime(2026, 11, 25, 10, tzinfo=UTC) == read_timestamp("2026-11-25T10:00:00")


@pytest.mark.parametrize("text", ["", "soon", "9999-12-31T23:59:59-01:00", None, 7, ["x"]])
def test_what_is_no_timestamp_is_a_value_error(text):
    """
    Also what is no text, or what UTC can't express, so that a reader has one error to expect.
    """
    with pytest.raises(ValueError, match=r"timestamp|isoformat"):
        read_timestamp(text)
