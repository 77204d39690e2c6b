import pytest

from webhook.config import default_config
from webhook.image.availability import UNKNOWN, Availability
from webhook.image.decision import Reason
from webhook.survey.explanation import REASONS, explain_image


CONFIG = default_config()
ALL = Availability.of_all(tuple(rule.project for rule in CONFIG.rules.rules))


def test_every_reason_is_put_into_words():
    """No reason is without an explanation."""

    assert set(Reason) == set(REASONS)


def test_a_rewritten_image_names_its_parts_and_its_rule():
    """A rewritten image shows the result, the parts of the reference, and the rule."""
    explanation = explain_image("nginx:1.27", CONFIG, ALL)

    assert {
        "outcome": f"rewritten (rule): {REASONS[Reason.RULE]}",
        "result": "harbor-cache.example.com/proxy.docker.io/library/nginx:1.27",
        "registry": "docker.io",
        "repository": "library/nginx",
        "tag": "1.27",
        "digest": "none",
        "rule": "docker.io → proxy.docker.io; "
        "aliases registry-1.docker.io, registry.hub.docker.com",
    } == dict(explanation.as_lines())


@pytest.mark.parametrize(
    ("image", "config", "availability", "reason"),
    [
        ("ghcr.io/acme/app:1", CONFIG, ALL, "no-rule"),
        ("harbor-cache.example.com/proxy.docker.io/a/b", CONFIG, ALL, "already-cached"),
        ("a//b", CONFIG, ALL, "invalid-reference"),
        ("sha256:" + "a" * 64, CONFIG, ALL, "invalid-reference"),
        ("nginx:" + "1" * 3000, CONFIG, ALL, "too-long"),
        ("nginx", CONFIG, UNKNOWN, "harbor-unavailable"),
        ("nginx", CONFIG.model_copy(update={"paused": True}), ALL, "paused"),
        ("a//b", CONFIG.model_copy(update={"paused": True}), ALL, "paused"),
    ],
)
def test_a_kept_image_is_its_own_result(image, config, availability, reason):
    """A kept image stays, byte for byte, and says why."""
    explanation = explain_image(image, config, availability)

    assert {
        "image": image,
        "outcome": "kept",
        "reason": reason,
        "result": image,
    } == explanation.as_json()


@pytest.mark.parametrize("image", ["a//b", "sha256:" + "a" * 64])
def test_what_is_no_reference_says_what_is_wrong(image):
    """Where there is no reference there is a problem, and no parts are made up."""
    lines = dict(explain_image(image, CONFIG, ALL).as_lines())

    assert {"outcome", "problem"} == set(lines)


def test_an_image_id_is_none_of_docker_hubs():
    """A local image ID is explained as such, although the grammar finds a repository in it."""
    explanation = explain_image("sha256:" + "a" * 64, CONFIG, ALL)

    assert "the kubelet reads it as the ID of an image on its node" == explanation.problem
