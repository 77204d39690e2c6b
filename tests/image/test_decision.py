from types import MappingProxyType

import pytest

from webhook.image.availability import UNKNOWN, Availability, State
from webhook.image.decision import MAX_IMAGE_BYTES, Keep, Reason, Rewrite, decide, rewrite_by_rules
from webhook.image.reference import Reference
from webhook.image.rules import Rule, Rules


DIGEST = f"sha256:{'0123456789abcdef' * 4}"
HUB = Rule("docker.io", "proxy.docker.io", aliases=("registry-1.docker.io",))
QUAY = Rule("quay.io", "proxy.quay.io", exclude=("acme/private-*",), when_upstream_down="keep")
RULES = Rules("harbor.example", (HUB, QUAY), former_hosts=("old.example",))
GOOD = Availability.of_all(("proxy.docker.io", "proxy.quay.io"))


def outcome(decision):
    """
    Return a decision in one word: where the image is pulled from, or why it is kept.
    """
    return decision.result if isinstance(decision, Rewrite) else decision.reason


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "harbor.example/proxy.docker.io/library/nginx"),
        ("nginx:1.25", "harbor.example/proxy.docker.io/library/nginx:1.25"),
        ("docker.io/nginx", "harbor.example/proxy.docker.io/library/nginx"),
        ("index.docker.io/nginx", "harbor.example/proxy.docker.io/library/nginx"),
        ("registry-1.docker.io/nginx", "harbor.example/proxy.docker.io/library/nginx"),
        ("registry-1.docker.io/library/nginx", "harbor.example/proxy.docker.io/library/nginx"),
        ("grafana/loki:3", "harbor.example/proxy.docker.io/grafana/loki:3"),
        ("a/b/c:1", "harbor.example/proxy.docker.io/a/b/c:1"),
        (f"nginx:1@{DIGEST}", f"harbor.example/proxy.docker.io/library/nginx:1@{DIGEST}"),
        (f"quay.io/x/y@{DIGEST}", f"harbor.example/proxy.quay.io/x/y@{DIGEST}"),
        ("quay.io/etcd", "harbor.example/proxy.quay.io/etcd"),
    ],
)
def test_rewritten(image, expected):
    """
    An image of a configured registry is pulled through its project, tag and digest unchanged.
    """
    assert expected == outcome(decide(image, RULES, GOOD))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("gcr.io/a/b", Reason.NO_RULE),
        ("localhost:5000/x", Reason.NO_RULE),
        ("docker.io:443/library/nginx", Reason.NO_RULE),
        ("Docker.IO/library/nginx", Reason.NO_RULE),
        ("docker.io.evil.com/library/nginx", Reason.NO_RULE),
        ("quay.io/acme/private-app:1", Reason.EXCLUDED),
        ("harbor.example/proxy.docker.io/library/nginx", Reason.ALREADY_CACHED),
        ("harbor.example:443/anything/else", Reason.ALREADY_CACHED),
        ("old.example/proxy.docker.io/library/nginx", Reason.ALREADY_CACHED),
        ("", Reason.INVALID_REFERENCE),
        ("nginx\n", Reason.INVALID_REFERENCE),
        ("nginx:тест", Reason.INVALID_REFERENCE),
        ("HTTP://UPPER/Case::x@@", Reason.INVALID_REFERENCE),
        ("0123456789abcdef" * 4, Reason.INVALID_REFERENCE),
        (DIGEST, Reason.INVALID_REFERENCE),
        ("x" * (MAX_IMAGE_BYTES + 1), Reason.TOO_LONG),
        ("\0" * 1_000_000, Reason.TOO_LONG),
    ],
)
def test_kept_by_the_rules(image, reason):
    """
    Whatever the rules do not cover stays as it is, for a named reason.
    """
    assert reason == outcome(decide(image, RULES, GOOD))
    assert reason == outcome(rewrite_by_rules(image, RULES))


@pytest.mark.parametrize(("length", "fits"), [(239, True), (240, False), (255, False)])
def test_too_long_with_the_project(length, fits):
    """
    A repository that would pass 255 characters with the project in front is kept: too-long.
    """
    decision = decide(f"docker.io/{'a' * (length - 2)}/b", RULES, GOOD)

    assert fits is isinstance(decision, Rewrite)
    assert fits or decision == Keep(Reason.TOO_LONG, HUB)


@pytest.mark.parametrize(
    ("harbor", "project", "expected"),
    [
        (State.UNKNOWN, State.AVAILABLE, Reason.HARBOR_UNAVAILABLE),
        (State.UNAVAILABLE, State.AVAILABLE, Reason.HARBOR_UNAVAILABLE),
        (State.AVAILABLE, State.UNKNOWN, Reason.PROJECT_UNAVAILABLE),
        (State.AVAILABLE, State.UNAVAILABLE, Reason.PROJECT_UNAVAILABLE),
        (State.AVAILABLE, State.CACHE_ONLY, Reason.UPSTREAM_UNAVAILABLE),
        (State.AVAILABLE, State.AVAILABLE, "harbor.example/proxy.quay.io/a"),
    ],
)
def test_availability(harbor, project, expected):
    """
    An image is rewritten only while Harbor and its project are known to be good.
    """
    availability = Availability(harbor, MappingProxyType({"proxy.quay.io": project}))

    assert expected == outcome(decide("quay.io/a", RULES, availability))


def test_upstream_down_is_rewritten_by_default():
    """
    With its upstream down, Harbor's copy may be the only one: images are still rewritten.
    """
    availability = Availability(
        State.AVAILABLE, MappingProxyType({"proxy.docker.io": State.CACHE_ONLY})
    )

    assert outcome(decide("a/b", RULES, availability)) == "harbor.example/proxy.docker.io/a/b"


def test_nothing_known():
    """
    Before anything is known of Harbor, images are left alone; the rules alone do not care.
    """
    assert outcome(decide("nginx", RULES, UNKNOWN)) == Reason.HARBOR_UNAVAILABLE
    assert isinstance(rewrite_by_rules("nginx", RULES), Rewrite)


@pytest.mark.parametrize(
    ("image", "quarantined"),
    [
        ("nginx:1", True),
        ("docker.io/library/nginx:1", True),
        ("registry-1.docker.io/nginx:1", True),
        ("nginx", False),
        ("nginx:2", False),
        (f"nginx:1@{DIGEST}", False),
        ("quay.io/library/nginx:1", False),
    ],
)
def test_quarantine(image, quarantined):
    """
    A quarantined image is left alone under each of its names, and no other image is.
    """
    availability = Availability(
        GOOD.harbor, GOOD.projects, quarantined=frozenset({"docker.io/library/nginx:1"})
    )
    decision = decide(image, RULES, availability)

    assert quarantined is (outcome(decision) == Reason.QUARANTINED)
    assert quarantined is not isinstance(decision, Rewrite)


@pytest.mark.parametrize(
    ("image", "rule"),
    [("nginx", HUB), ("quay.io/acme/private-x", QUAY), ("gcr.io/x", None), ("", None)],
)
def test_decision_knows_its_rule(image, rule):
    """
    A decision carries the rule that matched, for metrics by registry.
    """
    assert rule == decide(image, RULES, GOOD).rule


def test_rewritten_is_stable():
    """
    What was rewritten once is not rewritten again.
    """
    first = decide("nginx:1", RULES, GOOD)

    assert Reference("docker.io", "library/nginx", "1") == first.original
    assert outcome(decide(first.result, RULES, GOOD)) == Reason.ALREADY_CACHED


def test_reasons_are_those_of_the_contract():
    """
    The words that users see are fixed.
    """
    words = (
        "rule no-rule excluded already-cached harbor-unavailable project-unavailable "
        "upstream-unavailable quarantined invalid-reference too-long too-large paused opted-out "
        "mirror-pod owner-excluded pull-policy-never not-recoverable placeholder internal-error"
    )

    assert words.split() == [str(reason) for reason in Reason]
