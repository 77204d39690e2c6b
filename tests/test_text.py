import pytest

from webhook.text import printable


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
