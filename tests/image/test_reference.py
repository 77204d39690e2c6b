import os
import time

from random import Random

import pytest

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.oracles import ReferenceOracle
from tests.support.references import generate, published
from webhook.errors import InvalidReferenceError
from webhook.image.reference import Reference, is_domain


SHA256 = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"
SHA512 = SHA256 * 2

# `make reference-oracle` sets it to a million.
REFERENCES = int(os.environ.get("REFERENCES", "20000"))


@pytest.fixture(scope="module")
def oracle():
    with ReferenceOracle() as running:
        yield running


def parts(text):
    """
    Return what `ReferenceOracle.parse` returns, by our own parser.
    """
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError:
        return None
    return reference.domain, reference.path, reference.tag, reference.digest


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        # Docker Hub, and what people leave out.
        ("nginx", "docker.io", "library/nginx", "", ""),
        ("nginx:1.25", "docker.io", "library/nginx", "1.25", ""),
        ("docker.io/nginx", "docker.io", "library/nginx", "", ""),
        ("index.docker.io/debian", "docker.io", "library/debian", "", ""),
        ("grafana/loki:3", "docker.io", "grafana/loki", "3", ""),
        ("a/b/c:1", "docker.io", "a/b/c", "1", ""),
        ("docker.io/library/foo/bar", "docker.io", "library/foo/bar", "", ""),
        ("test_com/foo", "docker.io", "test_com/foo", "", ""),
        ("dock__er", "docker.io", "library/dock__er", "", ""),
        ("docker---rules/docker", "docker.io", "docker---rules/docker", "", ""),
        # Without a slash there is no domain, and what follows a colon is a tag.
        ("test:5000", "docker.io", "library/test", "5000", ""),
        ("test.com:5000", "docker.io", "library/test.com", "5000", ""),
        # Other registries.
        ("quay.io/foo", "quay.io", "foo", "", ""),
        ("test:5000/repo", "test:5000", "repo", "", ""),
        ("localhost/foo", "localhost", "foo", "", ""),
        ("localhost:5000/x", "localhost:5000", "x", "", ""),
        ("10.0.0.1:5000/x", "10.0.0.1:5000", "x", "", ""),
        ("[::1]:5000/x", "[::1]:5000", "x", "", ""),
        ("[fc00::1]/x", "[fc00::1]", "x", "", ""),
        ("xn--n3h.com/x", "xn--n3h.com", "x", "", ""),
        ("b.gcr.io/test.example.com/my-app:t", "b.gcr.io", "test.example.com/my-app", "t", ""),
        # An upper-case letter makes a domain of the first component, since no path may have one.
        ("Foo/bar", "Foo", "bar", "", ""),
        ("Docker.IO/x", "Docker.IO", "x", "", ""),
        ("docker.io:443/x", "docker.io:443", "x", "", ""),
        # The dot makes it a domain, the underscore makes it none: it ends up in the path.
        ("my_host.example/x", "", "my_host.example/x", "", ""),
        # Tags and digests.
        ("a:A.b-c_d", "docker.io", "library/a", "A.b-c_d", ""),
        (f"a:{'t' * 128}", "docker.io", "library/a", "t" * 128, ""),
        (f"a@sha256:{SHA256}", "docker.io", "library/a", "", f"sha256:{SHA256}"),
        (f"a:1@sha256:{SHA256}", "docker.io", "library/a", "1", f"sha256:{SHA256}"),
        (f"a@sha512:{SHA512}", "docker.io", "library/a", "", f"sha512:{SHA512}"),
        # Not the ID of an image, but nearly.
        (SHA256[1:], "docker.io", f"library/{SHA256[1:]}", "", ""),
        (f"docker.io/{SHA256}", "docker.io", f"library/{SHA256}", "", ""),
        (f"sha256:{SHA256}", "docker.io", "library/sha256", SHA256, ""),
        # Only the path counts for its limit.
        (f"quay.io/{'x' * 255}", "quay.io", "x" * 255, "", ""),
        (f"{'d' * 300}.io/{'x' * 255}", f"{'d' * 300}.io", "x" * 255, "", ""),
    ],
)
def test_accepted(text, domain, path, tag, digest):
    """
    A reference is cut into domain, path, tag and digest, and the rest of Docker Hub is filled in.
    """
    assert Reference(domain, path, tag, digest) == Reference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":tag", f"@sha256:{SHA256}", "/", "docker/", "a///b", "docker/Docker"),
        *("nginx:", "nginx@", "nginx:1\n", "nginx\n", "nginx ", " nginx", "nginx\0", "nginx\r\n"),
        *("nginx:тест", "nginx:\uff11\uff12", "\u212aubernetes", "é", "a b", "$(IMG)"),
        *("-a", "a-", "_a", "a..b/c", "a-.b/c", "a._b", "____/____", "a___b"),
        *("https://quay.io/x", "quay.io:http/x", "user@quay.io/x", "--privileged"),
        *("fc00::1:5000/x", "[::1]:5000", "[::1", "[fe80::1%eth0]:5000/x", "[::1.2.3.4]/x"),
        *(SHA256, f"a@sha256:{SHA256[:32]}", f"a@sha256:{SHA256.upper()}", f"a@md5:{SHA256[:32]}"),
        *(f"a@sha512:{SHA256}", f"a@sha256:{SHA256}:1", f"a:{'t' * 129}", f"a@unknown:{SHA256}"),
        *(f"quay.io/{'x' * 256}", f"docker.io/{'x' * 248}", "\ud800", "x" * 1_000_000),
    ],
)
def test_refused(text):
    """
    What the kubelet could not read is no reference, and the error says so in words.
    """
    with pytest.raises(InvalidReferenceError, match=r"\w+ \w+"):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("nginx", "docker.io/library/nginx"),
        (f"quay.io/a/b:1@sha256:{SHA256}", f"quay.io/a/b:1@sha256:{SHA256}"),
        (f"a@sha256:{SHA256}", f"docker.io/library/a@sha256:{SHA256}"),
        ("my_host.example/x:1", "my_host.example/x:1"),
    ],
)
def test_written(text, written):
    """
    Written out, a reference has all its parts and no invented tag.
    """
    assert written == str(Reference.parse(text))


@pytest.mark.parametrize("host", ["docker.io", "a", "Foo:5000", "10.0.0.1:1", "[::1]:5000", "[a]"])
def test_domain(host):
    """
    A host with an optional port can stand as a domain.
    """
    assert is_domain(host)


@pytest.mark.parametrize("host", ["", "docker.io/x", "https://a", "a:", "a_b", "a b", "a\n", "é"])
def test_no_domain(host):
    """
    Anything else can't, a line end behind it included.
    """
    assert not is_domain(host)


def test_published_vectors(oracle):
    """
    Every string in the Go module's own tests, also with more around it, is read alike.
    """
    texts = published()
    frames = ("{}", "docker.io/{}", "a/{}", "{}:tag", "{}/a", "{}\n", f"{{}}@sha256:{SHA256}")
    framed = [frame.replace("{}", text) for text in texts for frame in frames]

    differing = [(t, want, parts(t)) for t, want in oracle.parse_all(framed) if want != parts(t)]

    assert differing == []
    # The files were found, and hold what they are known to hold.
    assert len(texts) > 300
    assert {"test:5000/repo", "[fc00::1]:5000/docker", "docker.io/docker/Docker"} < set(texts)


@settings(deadline=None)
@given(
    st.randoms(use_true_random=False).map(generate)
    | st.text(alphabet="aZ0.-_/:@[]\n\0é\u212a", max_size=24)
    | st.text(max_size=80)
)
def test_any_text(oracle, text):
    """
    Whatever the text, it is accepted or not and cut as the Go module does it.
    """
    assert oracle.parse(text) == parts(text)


def test_many_references(oracle):
    """
    Of many made-up references, about half of them good ones, every one is read alike.
    """
    random = Random(REFERENCES)
    started = time.monotonic()
    accepted = 0
    for text, expected in oracle.parse_all(generate(random) for _ in range(REFERENCES)):
        accepted += expected is not None

        assert expected == parts(text), f"{text!r} is read in another way"

    seconds = time.monotonic() - started
    print(
        f"{REFERENCES:,} references, {accepted:,} of them accepted, no difference; {seconds:.0f} s"
    )

    assert REFERENCES / 4 < accepted < REFERENCES * 3 / 4
