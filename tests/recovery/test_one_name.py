"""
The one name of an image, for failures and for successes.
"""

import pytest

from tests.support.recovery_pods import HARBOR, pod, waiting
from webhook.image.rules import Rule, Rules
from webhook.recovery.evidence import Evidence, Failure, identity, refused_upstream
from webhook.recovery.failure import PullFailure
from webhook.recovery.waiting import watched_pod


RULES = Rules(HARBOR, (Rule("docker.io", "p", aliases=("registry-1.docker.io",)),))
NAME = "docker.io/grafana/grafana:11"
DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("image", "record"),
    [
        (f"{HARBOR}/p/grafana/grafana:11", "grafana/grafana:11"),
        (f"{HARBOR}/p/grafana/grafana:11", "registry-1.docker.io/grafana/grafana:11"),
        (f"{HARBOR}/p/grafana/grafana:11", ""),
        (f"{HARBOR}/p/grafana/grafana:11@{DIGEST}", "grafana/grafana:11"),
        (f"{HARBOR}/p/grafana/grafana@{DIGEST}", "grafana/grafana:11"),
        ("grafana/grafana:11", ""),
        ("grafana/grafana:11", "grafana/grafana:11"),
        ("registry-1.docker.io/grafana/grafana:11", "something/else"),
        (f"grafana/grafana:11@{DIGEST}", "grafana/grafana:11"),
        (f"grafana/grafana@{DIGEST}", "grafana/grafana:11"),
    ],
)
def test_one_name(image, record):
    """
    At Harbor, at its registry, under an alias, pinned by a verifier: it is the same image.
    """
    assert NAME == identity(image, record, RULES)


@pytest.mark.parametrize("image", ["quay.io/a/b:1", f"{HARBOR}/own/app:1", "not a reference", ""])
def test_no_name(image):
    """
    What no rule is about has none.
    """
    assert "" == identity(image, "", RULES)


def test_failure_then_success_on_one_node():
    """
    A success under Harbor's name clears the failure under the original's.
    """
    evidence = Evidence()
    for node in ("node1", "node2"):
        evidence.failed(Failure(NAME, "p", node, "shop", 70.0, 100.0, PullFailure.ABSENT))
    image = identity(f"{HARBOR}/p/grafana/grafana:11", "grafana/grafana:11", RULES)

    evidence.started("node1", image, "p", at=101.0, proves=True, pulled=False)

    assert {} == evidence.judge(102.0).images


@pytest.mark.parametrize(
    ("image", "message", "refused"),
    [
        ("grafana/grafana:11", '"grafana/grafana:11": not found', [NAME]),
        ("grafana/grafana:11", '"grafana/grafana:11": pull access denied', [NAME]),
        ("grafana/grafana:11", '"grafana/grafana:11": 429 Too Many Requests', []),
        ("grafana/grafana:11", '"another": not found', []),
        (f"{HARBOR}/p/grafana/grafana:11", f'"{HARBOR}/p/grafana/grafana:11": not found', []),
    ],
)
def test_what_an_upstream_does_not_give_away(image, message, refused):
    """
    Absent and denied at the registry itself; what Harbor says is another matter.
    """
    body = pod({"web": image}, [waiting("web", image, message=f"failed to pull {message}")])

    assert refused == list(refused_upstream(watched_pod(body), RULES))
