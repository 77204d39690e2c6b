"""
Whose fault a failed pull is: the messages that docs/pull-failures.md lists, and names that mislead.
"""

import re

from pathlib import Path

import pytest

from webhook.recovery.failure import PullFailure, classify, tells_the_cause


PAGE = Path(__file__).parents[2] / "docs" / "pull-failures.md"
RUNTIMES = (
    "The kubelet, before 1.31",
    "The kubelet, from 1.31 on",
    "containerd 1.6",
    "containerd 1.7",
    "containerd 2.x",
    "CRI-O",
    "cri-dockerd",
)
ROW = re.compile(
    r"\| `(?P<message>.+?)` \| `(?P<failure>[a-z]+)` \| (?P<version>[^|]+) \| (?P<seen>[^|]+) \|"
)
WORDS = (
    "ratelimit", "toomanyrequests", "429", "404", "401", "403", "503", "unauthorized", "denied",
    "forbidden", "notfound", "not-found", "absent", "manifest-unknown", "unknown", "timeout",
    "eof", "refused", "no-such-host", "x509", "tls", "canceled", "context-canceled", "node",
    "kubelet", "nospace", "exec-format-error", "limited", "unreachable", "too-many-requests",
    "rate-exceeded", "rate.limit", "access.denied", "connection-refused", "no_match_for_platform",
)  # fmt: skip
"""
Class words, and words of the messages, as they may stand in names.
"""

LONG = f"{'a/' * 2000}:{'b' * 5000}"


def page_rows():
    """
    Return the rows of the page by the runtime that they stand under.
    """
    rows, heading = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif found := ROW.fullmatch(line):
            rows.setdefault(heading, []).append((found["message"], PullFailure(found["failure"])))
    return rows


MESSAGES = [row for rows in page_rows().values() for row in rows]


@pytest.mark.parametrize(("message", "failure"), MESSAGES)
def test_messages_of_the_page(message, failure):
    """
    Every message that the page lists is judged as it says there.
    """
    assert failure == classify("ErrImagePull", message)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_has_its_messages(runtime):
    """
    The page has at least eight messages of each runtime, and names no other.
    """
    rows = page_rows()

    assert len(rows[runtime]) >= 8
    assert set(RUNTIMES) == set(rows)


def test_the_page_is_read_whole():
    """
    Every line of a table with a class is a row that the tests read.
    """
    lines = [
        x for x in PAGE.read_text().splitlines() if x.startswith("| `") and x.count("` |") > 1
    ]

    assert len(lines) == len(MESSAGES)


FURTHER = [
 ("kubelet", 'rpc error: code = Unknown desc = failed to pull and unpack image "docker.io/library/a:1": failed to copy: context canceled'),
 ("unreachable", 'rpc error: code = Unknown desc = failed to pull and unpack image "h/a:1": failed to resolve reference "h/a:1": failed to do request: Head "https://h/v2/a/manifests/1": EOF'),
 ("unreachable", 'failed to pull and unpack image "h/a:1": failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://h/v2/a/blobs/sha256:aa": dial tcp 10.0.0.1:443: i/o timeout'),
 ("unreachable", 'rpc error: code = Unknown desc = failed to pull and unpack image "h/a:1": failed to resolve reference "h/a:1": failed to do request: Head "http://h/v2/a/manifests/1": context deadline exceeded'),
 ("absent", 'rpc error: code = NotFound desc = failed to pull and unpack image "h/p/a@sha256:aa": failed to copy: httpReadSeeker: failed open: content at https://h/v2/p/a/manifests/sha256:aa not found: not found'),
 ("denied", 'failed to resolve reference "h/a:1": unexpected status code [manifests 1]: 401 Unauthorized'),
 ("unreachable", "failed to copy: httpReadSeeker: failed open: server message: unexpected status code https://h/v2/a/blobs/sha256:aa: 500 Internal Server Error"),
 ("unreachable", 'rpc error: code = Unknown desc = failed to pull and unpack image "h/a:1": failed to copy: read tcp 10.0.0.1:1->10.0.0.2:443: use of closed network connection'),
 ("node", 'failed to pull and unpack image "h/a:1": failed to extract layer sha256:aa: exec: "unpigz": exec format error: unknown'),
 ("node", 'rpc error: code = ResourceExhausted desc = failed to pull and unpack image "h/a:1": mkdir /var/lib/containerd/io.containerd.content.v1.content/ingest/aa: no space left on device'),
 ("node", 'failed to pull and unpack image "h/a:1": failed commit on ref "config-sha256:aa": rename /var/lib/a /var/lib/b: no space left on device'),
 ("unreachable", 'Get "https://h/v2/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)'),
 ("denied", "Error response from daemon: unauthorized: authentication required"),
 ("denied", 'Error response from daemon: Head "https://ghcr.io/v2/x/y/manifests/1": denied'),
 ("denied", 'Error response from daemon: Head "https://h/v2/x/y/manifests/1": unauthorized'),
 ("denied", "Error response from daemon: unauthorized: unauthorized to access repository: proxy.x/y, action: pull: unauthorized to access repository: proxy.x/y, action: pull"),
 ("absent", "Error response from daemon: unknown: repository proxy.docker.io/library/x not found"),
 ("absent", "Error response from daemon: unknown: artifact proxy.docker.io/library/x:1 not found"),
 ("absent", "reading manifest 1 in h/proxy.docker.io/library/x: unknown: resource not found: repo proxy.docker.io/library/x, tag 1 not found"),
 ("absent", "reading manifest 1 in h/x: name unknown: repository name not known to registry"),
 ("absent", 'reading manifest 1 in h/x: StatusCode: 404, "<html>"'),
 ("unreachable", "reading manifest 1 in h/x: received unexpected HTTP status: 503 Service Unavailable"),
 ("unreachable", "initializing source docker://h/x:1: pinging container registry h: received unexpected HTTP status: 502 Bad Gateway"),
 ("limited", "initializing source docker://h/x:1: reading manifest 1 in h/x: received unexpected HTTP status: 429 Too Many Requests"),
 ("denied", "initializing source docker://h/x:1: unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password"),
 ("denied", "initializing source docker://h/x:1: Requesting bearer token: invalid status code from registry 403 (Forbidden)"),
 ("limited", "parsing image configuration: fetching blob: Invalid status code returned when fetching blob 429 (Too Many Requests)"),
 ("denied", "ErrImagePull: reading manifest pr-692 in h/g/app: denied: Quota has been exceeded on namespace"),
 ("limited", "Error response from daemon: toomanyrequests: Rate exceeded"),
 ("limited", 'error parsing HTTP 429 response body: invalid character \'T\' looking for beginning of value: "Too Many Requests (HAP429)"'),
 ("unreachable", "error parsing HTTP 503 response body"),
 ("node", "Error response from daemon: no matching manifest for windows/amd64 10.0.17763 in the manifest list entries"),
 ("node", 'Error response from daemon: image operating system "windows" cannot be used on this platform: operating system is not supported'),
 ("unreachable", 'rpc error: code = Unknown desc = Error response from daemon: Get "https://h/v2/": http: server gave HTTP response to HTTPS client'),
 ("unreachable", 'failed to do request: Head "https://h/v2/x/manifests/1": dial tcp 10.0.0.1:443: connect: no route to host'),
 ("unreachable", 'failed to do request: Head "https://h/v2/x/manifests/1": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-01-01T00:00:00Z is after 2025-01-01T00:00:00Z'),
 ("unreachable", 'failed to do request: Head "https://h/v2/x/manifests/1": remote error: tls: handshake failure'),
 ("unreachable", 'failed to do request: Head "https://h/v2/x/manifests/1": read: connection reset by peer'),
 ("node", 'failed to pull and unpack image "h/x:1": failed to unpack image on snapshotter overlayfs: unexpected media type text/html for sha256:aa: not found'),
 ("denied", "failed to authorize: failed to fetch oauth token: unexpected status from POST request to https://auth.docker.io/token: 401 Unauthorized"),
 ("absent", "pull access: h/x:1: not found"),
 ("node", 'writing blob: storing blob to file "/var/tmp/storage123/1": write /var/tmp/storage123/1: no space left on device'),
 ("denied", "User: arn:aws:sts::1:assumed-role/r/i-0 is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:1:repository/x because no resource-based policy allows"),
 ("denied", 'denied: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/x" (or it may not exist)'),
 ("unreachable", 'failed to pull and unpack image "h/x:1": failed to copy: unexpected EOF'),
 ("unreachable", "failed to copy: stream error: stream ID 5; INTERNAL_ERROR; received from peer"),
]  # fmt: skip
"""
Wordings that were kept apart while the rules were written: those of Harbor, of registries, of Go's
network library.
"""


def test_wordings_that_the_rules_were_not_written_for():
    """
    None of the messages that were kept apart is judged wrongly.
    """
    wrong = [m for failure, m in FURTHER if classify("ErrImagePull", m) != failure]

    assert [] == wrong


TEMPLATES = [
    # containerd, with the image in quotes and bare, hosts and URLs.
    (('failed to pull and unpack image "{host}/{ns}/{image}:{tag}": failed to resolve reference'
     ' "{host}/{ns}/{image}:{tag}": {host}/{ns}/{image}:{tag}: not found'), PullFailure.ABSENT),
    (('failed to pull and unpack image "{host}/{ns}/{image}:{tag}": failed to resolve reference'
     ' "{host}/{ns}/{image}:{tag}": pulling from host {host} failed with status code'
     ' [manifests {tag}]: 429 Too Many Requests'), PullFailure.LIMITED),
    (('failed to pull and unpack image "{host}/{ns}/{image}:{tag}": failed to copy: httpReadSeeker:'
     ' failed open: unexpected status code https://{host}/v2/{ns}/{image}/manifests/{tag}?ns={host}:'
     ' 503 Service Unavailable'), PullFailure.UNREACHABLE),
    (("unexpected status from HEAD request to https://{host}/v2/{ns}/{image}/manifests/{tag}:"
     " 401 Unauthorized"), PullFailure.DENIED),
    (('failed to do request: Head "https://{host}/v2/{ns}/{image}/manifests/{tag}": dial tcp: lookup'
     ' {host} on 10.96.0.10:53: no such host'), PullFailure.UNREACHABLE),
    (('failed to pull and unpack image "{host}/{ns}/{image}:{tag}": failed to extract layer'
     ' sha256:be4eae: write /var/lib/{image}/{tag}: no space left on device'), PullFailure.NODE),
    ('failed to pull and unpack image "{host}/{ns}/{image}:{tag}": context canceled',
     PullFailure.KUBELET),
    ('failed to pull and unpack image "{host}/{ns}/{image}:{tag}": something nobody has seen yet',
     PullFailure.UNKNOWN),
    # CRI-O, which quotes nothing.
    (("initializing source docker://{host}/{ns}/{image}:{tag}: reading manifest {tag} in"
     " {host}/{ns}/{image}: manifest unknown"), PullFailure.ABSENT),
    ("reading manifest {tag} in {host}/{ns}/{image}: toomanyrequests: slow down",
     PullFailure.LIMITED),
    ("reading manifest {tag} in {host}/{ns}/{image}: something nobody has seen yet",
     PullFailure.UNKNOWN),
    ('pinging container registry {host}: Get "https://{host}/v2/": EOF', PullFailure.UNREACHABLE),
    (("(Mirrors also failed: [m.example.com/{image}:{tag}: reading manifest {tag} in"
     " m.example.com/{image}: denied: no]): {host}/{ns}/{image}:{tag}: reading manifest {tag} in"
     " {host}/{ns}/{image}: manifest unknown"), PullFailure.ABSENT),
    # Docker, which quotes URLs only.
    ("Error response from daemon: manifest for {image}:{tag} not found: manifest unknown",
     PullFailure.ABSENT),
    ("Error response from daemon: manifest for {image} not found", PullFailure.ABSENT),
    (("Error response from daemon: pull access denied for {image}, repository does not exist or may"
     " require 'docker login'"), PullFailure.DENIED),
    ("Error response from daemon: repository {image} not found: does not exist or no pull access",
     PullFailure.DENIED),
    ('Error response from daemon: Get "https://{host}/v2/": unknown: something new',
     PullFailure.UNKNOWN),
    ("failed to resolve reference: unexpected answer from {host}: repo {ns}/{image}, tag {tag} is odd",
     PullFailure.UNKNOWN),
]  # fmt: skip


PREFIXES = (
    "",
    "rpc error: code = Unknown desc = ",
    'Back-off pulling image "{host}/{ns}/{image}:{tag}": ErrImagePull: ',
)


def names_of(word):
    """
    Yield names of which one, or all, are a class word.
    """
    plain = {"image": "app", "tag": "v1", "host": "registry.example.com", "ns": "shop"}
    label = word.replace("_", "-")
    for part in ("image", "tag", "ns"):
        yield {**plain, part: word}
    for host in (f"{label}.example.com", f"{label}:5000", f"registry.{label}"):
        yield {**plain, "host": host}
    yield {"image": word, "tag": word, "ns": word, "host": f"{label}.example.com"}


@pytest.mark.parametrize(("template", "failure"), TEMPLATES)
def test_names_change_nothing(template, failure):
    """
    Whatever class word an image, tag, host or namespace is called, the class stays.
    """
    messages = [
        (prefix + template).format(**names)
        for word in WORDS
        for names in names_of(word)
        for prefix in PREFIXES
    ]

    misled = [message for message in messages if classify("ErrImagePull", message) != failure]

    assert [] == misled


def test_a_status_code_counts_at_its_place_only():
    """
    A number that stands somewhere else is none.
    """
    message = "failed to read 404 bytes of 429, after 401 of 503 tries"

    assert PullFailure.UNKNOWN is classify("ErrImagePull", message)


@pytest.mark.parametrize(
    "message", ["", LONG, f'"{LONG}', "(Mirrors also failed: [" * 500, ": " * 4000, "a." * 4000]
)
def test_strange_messages_are_judged_soon(message):
    """
    No message takes long, whatever stands in it: a registry may say what it likes.
    """
    assert PullFailure.UNKNOWN is classify("ErrImagePull", message)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        ("404 Not Found", PullFailure.ABSENT),
        ("401 Unauthorized", PullFailure.DENIED),
        ("403 Forbidden", PullFailure.DENIED),
        ("429 Too Many Requests", PullFailure.LIMITED),
        ("502 Bad Gateway", PullFailure.UNREACHABLE),
    ],
)
def test_a_status_code_with_its_phrase_counts(answer, failure):
    """
    A code is believed as well where HTTP's own words for it follow.
    """
    assert failure is classify("ErrImagePull", f'failed to pull "h/a:1": {answer}')


def test_the_reason_speaks_where_the_message_does_not():
    """
    A kubelet that calls the registry unavailable is believed.
    """
    assert PullFailure.UNREACHABLE is classify(
        "RegistryUnavailable", "image pull failed for app:1"
    )
    assert PullFailure.UNKNOWN is classify("SignatureValidationFailed", "image pull failed")


@pytest.mark.parametrize(
    ("message", "tells"),
    [
        ('Back-off pulling image "nginx:1"', False),
        ('Back-off pulling image "nginx:1": ErrImagePull: pull QPS exceeded', True),
        ("pull QPS exceeded", True),
    ],
)
def test_a_bare_back_off_tells_no_cause(message, tells):
    """
    A kubelet before 1.31 says why once, and then only that it waits.
    """
    assert tells == tells_the_cause(message)


def test_only_the_kubelet_and_the_node_move_nothing():
    """
    Every other class may be followed by a move, since wordings are fragile.
    """
    assert {PullFailure.KUBELET, PullFailure.NODE} == {f for f in PullFailure if not f.movable}
