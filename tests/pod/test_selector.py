"""
Label selectors: read and applied as Kubernetes does.
"""

import pytest

from webhook.pod.selector import Selector


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("a=1", {"a": "1"}, True),
        ("a=1", {"a": "2"}, False),
        ("a=1", {}, False),
        (" a == 1 ", {"a": "1"}, True),
        ("a=", {"a": ""}, True),
        ("a!=1", {"a": "1"}, False),
        ("a!=1", {"a": "2"}, True),
        ("a!=1", {}, True),
        ("a in (1, 2)", {"a": "2"}, True),
        ("a in (1,2)", {"a": "3"}, False),
        ("a in (1,2)", {}, False),
        ("a notin (1,2)", {"a": "2"}, False),
        ("a notin (1,2)", {"a": "3"}, True),
        ("a notin (1,2)", {}, True),
        ("a", {"a": "x"}, True),
        ("a", {}, False),
        ("!a", {"a": "x"}, False),
        ("!a", {}, True),
        ("a=1,b in (1,2),!c", {"a": "1", "b": "2"}, True),
        ("a=1,b in (1,2),!c", {"a": "1", "b": "2", "c": ""}, False),
        ("app.kubernetes.io/name=web", {"app.kubernetes.io/name": "web"}, True),
        ("in", {"in": ""}, True),
        ("notin notin (in)", {}, True),
    ],
)
def test_matches(text, labels, expected):
    """
    A selector holds when all of its requirements do; an absent label meets those that deny.
    """
    assert expected is Selector.parse(text).matches(labels)


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a,",
        ",a",
        "a,,b",
        "a b",
        "a=b=c",
        "a=1 2",
        "a in",
        "a in 1,2",
        "a in (1,2",
        "a in 1,2)",
        "a in ((1))",
        "a > 1",
        "a===b",
        "!a=1",
        "!!a",
        "=1",
        "-a=1",
        "a/b/c=1",
        "/a=1",
        "A.Example/a=1",
        "a=-",
        "a=\u00e9",
        f"{'a' * 64}=1",
        f"a={'1' * 64}",
        "a=1\n,b=%",
        "{a: 1}",
    ],
)
def test_no_selector(text):
    """
    Anything else is refused with the forms that there are.
    """
    with pytest.raises(ValueError, match="is no label selector; write label=value"):
        Selector.parse(text)


@pytest.mark.parametrize(
    "text", ["a=1,a=2", "a,!a", "a=1,!a", "a=1,a!=1", "a in (1,2),a notin (2,1)", "a in (1),a=2"]
)
def test_what_no_object_can_have(text):
    """
    Requirements that exclude each other match nothing, so they are an error.
    """
    with pytest.raises(ValueError, match="what no Pod can have"):
        Selector.parse(text)


@pytest.mark.parametrize("text", ["a!=1,a!=2", "a,a!=1", "a in (1,2),a!=1", "!a,b"])
def test_what_an_object_can_have(text):
    """
    Several requirements of one label are fine as long as some value meets all.
    """
    Selector.parse(text)


@pytest.mark.parametrize("text", ["", " "])
def test_empty(text):
    """
    No requirement at all would match every Pod.
    """
    with pytest.raises(ValueError, match="matches every Pod"):
        Selector.parse(text)
