"""
From where images come, and what they were before.
"""

import pytest

from msgspec import convert

from webhook.image.rules import Rule, Rules
from webhook.pod.decision import Policy
from webhook.pod.model import Pod
from webhook.pod.origin import (
    Source,
    on_harbor,
    original_of,
    origins,
    project_of,
    recorded,
    source_of,
    with_originals,
)
from webhook.survey.tally import Tally


HARBOR = "harbor.example.com"
OLD_HARBOR = "old-harbor.example.com"
DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
CACHED = f"{HARBOR}/proxy.docker.io/library/nginx"
BEFORE = Rules(HARBOR, (Rule("quay.io", "proxy.quay.io"), Rule("docker.io", "hub")))
RULES = Rules(
    harbor_host=HARBOR,
    rules=(
        Rule("docker.io", "proxy.docker.io", aliases=("registry-1.docker.io",)),
        Rule("ghcr.io", "proxy.ghcr.io", exclude=("acme/private-*",)),
    ),
    former_hosts=(OLD_HARBOR,),
    former=(BEFORE,),
)


def pod(image, record=None, *, phase="Running", volume=None):
    """
    Return a Pod of one container, as JSON.
    """
    return {
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "annotations": {"original.harbor-cache.io/web": record} if record else None,
        },
        "spec": {
            "containers": [{"name": "web", "image": image}],
            "volumes": [{"name": "data", "image": {"reference": volume}}] if volume else None,
        },
        "status": {"phase": phase},
    }


def surveyed(body):
    """
    Return how a survey counts a Pod.
    """
    tally = Tally(Policy(RULES))
    tally.add_pod(body)
    pods = tally.result(cluster="", generated="", unseen=[]).pods
    return [source for source in Source if getattr(pods, source)]


ONE_TRUTH = {
    "an own image in Harbor outside the projects": (
        pod(f"{HARBOR}/team/app:1"),
        Source.CACHED,
    ),
    "a record that equals the image, without a rule": (
        pod("registry.example.com/a:1", "registry.example.com/a:1"),
        Source.DIRECT,
    ),
    "an image volume from Harbor": (pod("busybox", volume=f"{CACHED}:1"), Source.CACHED),
    "rewritten": (pod(f"{CACHED}:1", "nginx:1"), Source.CACHED),
    "restored": (pod("nginx:1", "nginx:1"), Source.RESTORED),
    "restored with a digest": (pod(f"nginx@{DIGEST}", "nginx:1"), Source.RESTORED),
    "restored, excluded since": (
        pod("ghcr.io/acme/private-a:1", "ghcr.io/acme/private-a:1"),
        Source.RESTORED,
    ),
    "restored, its registry taken out since": (pod("quay.io/a/b", "quay.io/a/b"), Source.RESTORED),
    "changed to something else by hand": (pod("nginx:2", "nginx:1"), Source.DIRECT),
    "a record of what leads to Harbor": (pod(f"{CACHED}:1", f"{CACHED}:1"), Source.CACHED),
    "never touched": (pod("nginx:1"), Source.DIRECT),
    "no reference": (pod("no reference", "no reference"), Source.DIRECT),
    "another image at the address of before": (pod(f"{OLD_HARBOR}/x/y"), Source.CACHED),
}


@pytest.mark.parametrize(("body", "source"), ONE_TRUTH.values(), ids=ONE_TRUTH)
def test_census_and_survey_say_the_same(body, source):
    """
    From where a Pod comes is one truth, for the metric as for the survey.
    """
    found = origins(convert(body, Pod), RULES)

    assert source == source_of(found)
    assert [source] == surveyed(body)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_counts_nowhere(phase):
    """
    It pulls nothing any more.
    """
    assert [] == surveyed(pod(f"{CACHED}:1", "nginx:1", phase=phase))


LEADS_THERE = [
    ("nginx:1", f"{CACHED}:1", "nginx:1"),
    ("docker.io/nginx", CACHED, "docker.io/nginx"),
    ("nginx:1", f"{OLD_HARBOR}/proxy.docker.io/library/nginx:1", "nginx:1"),
    (f"nginx@{DIGEST}", f"{CACHED}@{DIGEST}", f"nginx@{DIGEST}"),
    ("nginx:1", f"{CACHED}:1@{DIGEST}", f"nginx:1@{DIGEST}"),
    ("nginx:1", f"{CACHED}@{DIGEST}", f"nginx@{DIGEST}"),
    ("nginx", f"{CACHED}:latest@{DIGEST}", f"nginx@{DIGEST}"),
    ("nginx", f"{CACHED}@{DIGEST}", f"nginx@{DIGEST}"),
    (f"nginx:1@{DIGEST}", f"{CACHED}@{DIGEST}", f"nginx:1@{DIGEST}"),
    ("ghcr.io/acme/private-a", f"{HARBOR}/proxy.ghcr.io/acme/private-a", "ghcr.io/acme/private-a"),
    ("quay.io/a/b:1", f"{HARBOR}/proxy.quay.io/a/b:1", "quay.io/a/b:1"),
    ("nginx:1", f"{HARBOR}/hub/library/nginx:1", "nginx:1"),
    ("nginx:1", f"{HARBOR}/hub/library/nginx:1@{DIGEST}", f"nginx:1@{DIGEST}"),
]


@pytest.mark.parametrize(("record", "image", "original"), LEADS_THERE)
def test_a_record_that_leads_to_the_image(record, image, original):
    """
    By the rules, by those of before, and with a digest that a verifier has put there since.
    """
    found = recorded(record, image, RULES.for_records)

    assert found is not None
    assert original == found.original
    assert image.startswith(OLD_HARBOR) == found.moved
    assert ("proxy.quay.io" in image or "/hub/" in image) == found.former


@pytest.mark.parametrize(
    ("record", "image"),
    [
        ("", f"{CACHED}:1"),
        ("evil/x:1", f"{CACHED}:1"),
        ("nginx:1", f"{CACHED}:2"),
        ("nginx:1", CACHED),
        ("nginx:1", f"{CACHED}:2@{DIGEST}"),
        ("nginx:1", f"{CACHED}:latest@{DIGEST}"),
        (f"nginx:1@{OTHER}", f"{CACHED}:1@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"{CACHED}:1"),
        ("nginx:1", f"elsewhere.example.com/proxy.docker.io/library/nginx:1@{DIGEST}"),
        ("nginx:1", f"{HARBOR}/proxy.ghcr.io/library/nginx:1"),
        ("nginx:1", "no reference"),
        (f"{CACHED}:1", f"{CACHED}:1"),
        ("a" * 64, f"{CACHED}:1"),
        ("nginx:1\n", f"{CACHED}:1"),
    ],
)
def test_a_record_that_proves_nothing(record, image):
    """
    Another repository, tag or digest, another host, another project: anyone may write a record.
    """
    assert recorded(record, image, RULES.for_records) is None


def test_originals_are_put_in_their_places():
    """
    What was rewritten is decided on as it came; what nobody recorded stays.
    """
    body = {
        "metadata": {
            "annotations": {
                "original.harbor-cache.io/a": "nginx:1",
                "original.harbor-cache.io/b": "evil/x",
                "original.harbor-cache.io/v": "nginx:1",
            }
        },
        "spec": {
            "containers": [
                {"name": "a", "image": f"{CACHED}:1"},
                {"name": "b", "image": f"{CACHED}:1"},
            ],
            "initContainers": [{"name": "c", "image": "quay.io/x/y"}, {"name": "empty"}],
            "volumes": [{"name": "v", "image": {"reference": f"{CACHED}:1"}}],
        },
    }
    read = convert(body, Pod)

    read = with_originals(read, origins(read, RULES))

    assert ["nginx:1", f"{CACHED}:1"] == [c.image for c in read.spec.containers]
    assert ["quay.io/x/y", None] == [c.image for c in read.spec.init_containers]
    assert f"{CACHED}:1" == read.spec.volumes[0].image.reference


@pytest.mark.parametrize(
    ("image", "project", "original"),
    [
        (f"{CACHED}:1", "proxy.docker.io", "docker.io/library/nginx:1"),
        (
            f"{OLD_HARBOR}/proxy.ghcr.io/a/b@{DIGEST}",
            "proxy.ghcr.io",
            f"ghcr.io/a/b@{DIGEST}",
        ),
        (f"{HARBOR}/proxy.quay.io/a/b", "proxy.quay.io", "quay.io/a/b"),
        (f"{HARBOR}/private/a:1", "", ""),
        ("nginx", "", ""),
        ("no reference", "", ""),
    ],
)
def test_what_an_image_is_called_without_harbor(image, project, original):
    """
    People are told where an image would come from, and failures and successes share this name.
    """
    assert (project, original) == (project_of(image, RULES), original_of(image, RULES))


def test_harbor_with_and_without_its_port():
    """
    An image is on Harbor by its host alone, the default ports among its names.
    """
    assert on_harbor(f"{HARBOR}:443/a/b", RULES)
    assert not on_harbor(f"{HARBOR}.evil.com/a/b", RULES)
