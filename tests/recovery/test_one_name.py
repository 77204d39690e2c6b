"""
The one name of an image, for failures and for successes.
"""

import pytest

from tests.support.recovery_pods import HARBOR, pod, waiting
from webhook.config import Recovery
from webhook.image.availability import State
from webhook.image.rules import Rule, Rules
from webhook.recovery.evidence import Evidence, Failure, Nowhere, identity, refused_upstream
from webhook.recovery.failure import PullFailure
from webhook.recovery.ladder import Memory
from webhook.recovery.move import Health
from webhook.recovery.restore import restore
from webhook.recovery.waiting import names, watched_pod


RULES = Rules(HARBOR, (Rule("docker.io", "p", aliases=("registry-1.docker.io",)),))
NAME = "docker.io/grafana/grafana:11"
DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("image", "end"),
    [
        (f"{HARBOR}/p/grafana/grafana:11", ""),
        ("grafana/grafana:11", ""),
        ("registry-1.docker.io/grafana/grafana:11", ""),
        (f"{HARBOR}/p/grafana/grafana:11@{DIGEST}", f"@{DIGEST}"),
        (f"grafana/grafana:11@{DIGEST}", f"@{DIGEST}"),
    ],
)
def test_one_name(image, end):
    """
    At Harbor, at its registry, under an alias: it is the same image; with a digest it is another.
    """
    assert f"{NAME}{end}" == identity(image, RULES)


def test_a_record_and_a_digest_that_exists_nowhere_say_nothing_about_the_tag():
    """
    Whoever writes both into a Pod of theirs has no image of others quarantined, or let out.
    """
    image = f"{HARBOR}/p/grafana/grafana:11@{DIGEST}"
    status = waiting("web", image, message=f'failed to pull "{image}": not found')
    body = pod({"web": image}, [status], records={"web": "grafana/grafana:11"})
    [container] = watched_pod(body).waiting

    move = restore(
        container,
        Memory(since=0.0, failure=PullFailure.ABSENT),
        rules=RULES,
        health=lambda _: Health(State.AVAILABLE, 600.0),
        hangs=False,
        now=60.0,
        config=Recovery(),
    )

    assert (f"{NAME}@{DIGEST}", f"grafana/grafana:11@{DIGEST}") == (move.identity, move.image)


@pytest.mark.parametrize("image", ["quay.io/a/b:1", f"{HARBOR}/own/app:1", "not a reference", ""])
def test_no_name(image):
    """
    What no rule is about has none.
    """
    assert "" == identity(image, RULES)


def test_failure_then_success_on_one_node():
    """
    A success under Harbor's name clears the failure under the original's.
    """
    evidence = Evidence()
    for node in ("node1", "node2"):
        evidence.failed(Failure(NAME, "p", node, "shop", 70.0, 100.0, PullFailure.ABSENT))
    image = identity(f"{HARBOR}/p/grafana/grafana:11", RULES)

    evidence.started("node1", image, "p", at=101.0, proves=True, pulled=False)

    assert {} == evidence.judge(102.0).images


@pytest.mark.parametrize(
    ("image", "message", "refused"),
    [
        ("grafana/grafana:11", '"grafana/grafana:11": not found', [Nowhere(NAME, "")]),
        (
            "grafana/grafana:11",
            '"grafana/grafana:11": pull access denied',
            [Nowhere(NAME, "shop")],
        ),
        ("grafana/grafana:11", '"grafana/grafana:11": 429 Too Many Requests', []),
        ("grafana/grafana:11", '"another": not found', []),
        (f"{HARBOR}/p/grafana/grafana:11", f'"{HARBOR}/p/grafana/grafana:11": not found', []),
    ],
)
def test_what_an_upstream_does_not_give_away(image, message, refused):
    """
    Absent at the registry itself, or denied to that namespace; Harbor's word is another matter.
    """
    body = pod({"web": image}, [waiting("web", image, message=f"failed to pull {message}")])

    assert refused == list(refused_upstream(watched_pod(body), RULES))


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("nginx:1", True),
        ("library/nginx:1", True),
        ("docker.io/library/nginx:1", True),
        ("nginx", False),
        ("acme/nginx:1", False),
        ("quay.io/library/nginx:1", False),
    ],
)
def test_a_short_name_is_written_out_by_the_runtime(image, named):
    """
    What containerd says of ``docker.io/library/nginx:1`` is about the container with that image.
    """
    said = 'failed to resolve reference "docker.io/library/nginx:1": not found'

    assert named == names(said, image)
