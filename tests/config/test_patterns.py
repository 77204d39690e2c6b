"""
Patterns and canaries: what no repository of the registry is called is refused, with what to write.
"""

import json

import pytest

from hypothesis import given
from hypothesis import strategies as st

from tests.config.test_model import MINIMAL, parse, problems
from webhook.config.patterns import _matches_a_repository
from webhook.image.rules import Rule


HUB, QUAY = "docker.io", "quay.io"


def _registry(host, **more):
    return f"{MINIMAL}registries: [{json.dumps({'host': host, 'project': 'p', **more})}]"


@pytest.mark.parametrize(
    ("host", "pattern"),
    [
        (HUB, "*"),
        (HUB, "**"),
        (HUB, "library/*"),
        (HUB, "library/nginx"),
        (HUB, "acme/private-*"),
        (HUB, "acme/a?c"),
        (HUB, "nginx*"),
        (HUB, "*nginx"),
        (HUB, "a/b/c"),
        (HUB, "a__b/c--d.e"),
        (HUB, "*.io/x"),
        (QUAY, "nginx"),
        (QUAY, "acme/*"),
        (QUAY, "quay.io.mirror/acme"),
        (QUAY, "docker.io/acme"),
        (QUAY, "?"),
        (QUAY, "*-*"),
    ],
)
def test_patterns_that_match(host, pattern):
    """
    What some repository of the registry is called is taken as it is.
    """
    assert (pattern,) == parse(_registry(host, include=[pattern])).registries[0].include


@pytest.mark.parametrize(
    ("host", "pattern", "advice"),
    [
        (HUB, "docker.io/acme/*", "write 'acme/*'"),
        (HUB, "index.docker.io/acme/*", "write 'acme/*'"),
        (HUB, "docker.io/nginx", "write 'library/nginx'"),
        (HUB, "https://docker.io/acme/*", "write 'acme/*'"),
        (HUB, "quay.io/acme/*", "write a repository"),
        (HUB, "acme/app:*", "write 'acme/app'"),
        (HUB, "acme/app:1@sha256:00", "write 'acme/app'"),
        (HUB, "acme/app@sha256:*", "write 'acme/app'"),
        (HUB, "/acme/x", "write 'acme/x'"),
        (HUB, "acme/x/", "write 'acme/x'"),
        (HUB, "Acme/y", "write 'acme/y'"),
        (HUB, "nginx", "write 'library/nginx'"),
        (HUB, "NGINX:1", "write 'library/nginx'"),
        (HUB, "^acme/.*$", "write 'acme/*'"),
        (HUB, "acme/.*", "write 'acme/*'"),
        (HUB, "acme/[ab]*", "write a repository"),
        (HUB, "acme//x", "write a repository"),
        (HUB, "acme/-x", "write a repository"),
        (HUB, "acme/_*", "write a repository"),
        (HUB, "acme ", "write 'library/acme'"),
        (HUB, "", "write a repository"),
        (HUB, "{acme,other}/*", "write a repository"),
        (HUB, "!acme/*", "write a repository"),
        (HUB, "\u0430cme/*", "write a repository"),
        (QUAY, "quay.io/acme/*", "write 'acme/*'"),
        (QUAY, "quay.io", "write a repository"),
        (QUAY, "acme/app:v1", "write 'acme/app'"),
    ],
)
@pytest.mark.parametrize("key", ["include", "exclude"])
def test_patterns_that_match_nothing(host, pattern, advice, key):
    """
    A pattern that can match nothing is refused: whoever wrote it believes in it.
    """
    [line] = problems(_registry(host, **{key: ["a/b", pattern]}))

    assert line.startswith(f"registries[0].{key}[1]: {pattern!r} matches no repository of {host}")
    assert advice in line


def test_a_sentence_per_pattern():
    """
    Each bad pattern is named, in its place.
    """
    lines = problems(
        _registry(HUB, exclude=["nginx", "a/b", "A/b"], aliases=["registry-1.docker.io"])
    )

    assert ["registries[0].exclude[0]", "registries[0].exclude[2]"] == [
        line.partition(":")[0] for line in lines
    ]


def test_lists_that_leave_nothing():
    """
    Nothing included, or all excluded, is no way to leave a registry out.
    """
    assert "leave it out" in problems(_registry(HUB, include=[]))[0]
    assert "leave the registry out" in problems(_registry(HUB, exclude=["a/b", "**"]))[0]


@given(
    st.from_regex(r"[a*?/._-]{1,6}", fullmatch=True),
    st.from_regex(
        r"[a-z0-9]([._-]?[a-z0-9]){0,2}(/[a-z0-9]([._-]?[a-z0-9]){0,2}){0,2}", fullmatch=True
    ),
)
def test_no_pattern_is_refused_that_matches(pattern, repository):
    """
    Where the rules match a repository, the walk through the grammar has found some.
    """
    if Rule("h", "p", include=(pattern,)).covers(repository):
        assert _matches_a_repository(pattern, deep="/" in repository)


@pytest.mark.parametrize(
    ("host", "canary", "said"),
    [
        (HUB, "busybox:1", "write 'library/busybox:1'"),
        (HUB, "library/busybox", "has no tag; write library/busybox:TAG"),
        (HUB, "library/busybox:", "is no image"),
        (HUB, "docker.io/library/busybox:1", "write 'library/busybox:1'"),
        (HUB, "", "is no image"),
        (QUAY, "Acme/app:1", "is no image"),
        (QUAY, "https://quay.io/acme/app:1", "is no image"),
        (QUAY, "quay.io/acme/app:1", "write 'acme/app:1'"),
    ],
)
def test_bad_canaries(host, canary, said):
    """
    A canary is a repository of the registry, in full, with a tag or a digest.
    """
    [line] = problems(_registry(host, canary=canary))

    assert line.startswith("registries[0].canary: ")
    assert said in line


def test_good_canaries():
    """
    A tag will do, a digest, or both.
    """
    digest = f"sha256:{'a' * 64}"
    for canary in ("library/busybox:1", f"acme/app@{digest}", f"acme/app:1@{digest}"):
        assert canary == parse(_registry(HUB, canary=canary)).registries[0].canary
