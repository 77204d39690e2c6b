import pytest

from webhook.image.reference import Reference
from webhook.image.rules import Rule, Rules


HUB = Rule("docker.io", "proxy.docker.io", aliases=("registry-1.docker.io",))
QUAY = Rule("quay.io", "proxy.quay.io")
RULES = Rules("harbor.example:8443", (HUB, QUAY), former_hosts=("old.example",))


@pytest.mark.parametrize(
    ("image", "rule"),
    [
        ("nginx", HUB),
        ("docker.io/a/b", HUB),
        ("index.docker.io/a/b", HUB),
        ("registry-1.docker.io/library/nginx:1", HUB),
        ("quay.io/a/b", QUAY),
        ("docker.io:443/a/b", None),
        ("Docker.IO/a/b", None),
        ("docker.io.evil.com/a/b", None),
        ("notquay.io/x", None),
        ("sub.quay.io/x", None),
        ("quay.io:443/x/y", None),
        ("localhost/x", None),
        ("my_host.quay.io/x", None),
    ],
)
def test_match_is_exact(image, rule):
    """
    A rule holds for its host and aliases exactly as written, and for no other host.
    """
    assert rule == RULES.match(Reference.parse(image))


@pytest.mark.parametrize(
    ("harbor", "image", "expected"),
    [
        ("harbor.example", "harbor.example/proxy.docker.io/library/nginx", True),
        ("harbor.example", "harbor.example:443/x", True),
        ("harbor.example", "harbor.example:80/x", True),
        ("harbor.example", "harbor.example:8443/x", False),
        ("harbor.example", "harbor.example.evil.com/x", False),
        ("harbor.example:8443", "harbor.example:8443/x", True),
        ("harbor.example:8443", "harbor.example/x", True),
        ("harbor.example:8443", "harbor.example:9443/x", False),
        ("[::1]:5000", "[::1]:5000/x", True),
        ("[::1]:5000", "[::1]/x", True),
        ("[::1]", "[::1]:443/x", True),
        ("[::1]", "[::2]/x", False),
        ("harbor.example", "nginx", False),
        ("harbor.example", "old.example/proxy.quay.io/a/b", True),
    ],
)
def test_leads_to_harbor(harbor, image, expected):
    """
    Harbor is recognised with and without its port, and where it was before a move.
    """
    rules = Rules(harbor, (HUB,), former_hosts=("old.example",))

    assert expected is rules.leads_to_harbor(Reference.parse(image))


@pytest.mark.parametrize(
    ("image", "original", "cached"),
    [
        ("nginx", "docker.io/library/nginx", "proxy.docker.io/library/nginx"),
        ("a/b:1", "docker.io/a/b:1", "proxy.docker.io/a/b:1"),
        (
            "registry-1.docker.io/nginx:1",
            "docker.io/library/nginx:1",
            "proxy.docker.io/library/nginx:1",
        ),
        ("registry-1.docker.io/a/b", "docker.io/a/b", "proxy.docker.io/a/b"),
        ("quay.io/etcd:3", "quay.io/etcd:3", "proxy.quay.io/etcd:3"),
        (
            f"quay.io/a/b:1@sha256:{'0' * 64}",
            f"quay.io/a/b:1@sha256:{'0' * 64}",
            f"proxy.quay.io/a/b:1@sha256:{'0' * 64}",
        ),
    ],
)
def test_original_and_cached(image, original, cached):
    """
    An image has one identity, whatever its alias, and one place in Harbor, with its own suffix.
    """
    reference = Reference.parse(image)
    rule = RULES.match(reference)
    identity = RULES.original(reference, rule)

    assert original == str(identity)
    assert f"harbor.example:8443/{cached}" == str(RULES.cached(identity, rule))


@pytest.mark.parametrize(
    ("include", "exclude", "path", "covered"),
    [
        (("*",), (), "a/b", True),
        (("*",), ("a/*",), "a/b", False),
        (("*",), ("a/*",), "a/b/c", False),
        (("*",), ("a/*",), "ab/c", True),
        (("a/*",), (), "a/b", True),
        (("a/*",), (), "b/a/c", False),
        (("a/*", "b/c"), (), "b/c", True),
        (("a/*", "b/c"), (), "b/cd", False),
        (("a/*", "*"), ("a/b",), "a/b", False),
        (("a/?",), (), "a/b", True),
        (("a/?",), (), "a/bc", False),
        (("library/nginx",), (), "library/nginx", True),
        (("nginx",), (), "library/nginx", False),
        (("a/b.c",), (), "a/bxc", False),
        ((), (), "a/b", False),
    ],
)
def test_covers(include, exclude, path, covered):
    """
    A repository is covered where an include pattern matches it whole, and no exclude pattern does.
    """
    rule = Rule("quay.io", "proxy.quay.io", include=include, exclude=exclude)

    assert covered is rule.covers(path)
