"""
The fence around the controller and the rules of the config: one truth in two languages.
"""

import pytest

from tests.support.helm import HARBOR, named, refusal, render, set_json
from webhook.config import parse_config


_FENCE = "harbor-cache-webhook-controller-pods"
_REGISTRIES = [
    {"host": "quay.io", "project": "q"},
    {
        "host": "docker.io",
        "project": "hub",
        "aliases": ["registry.hub.docker.com", "index.docker.io", "a.example:5000"],
    },
    {"host": "ghcr.io", "project": "proxy.ghcr.io", "include": ["a/*"], "exclude": ["a/b"]},
]


@pytest.mark.parametrize(
    "arguments",
    [
        HARBOR,
        ("--set", "config.harbor.url=https://Harbor.example:8443/"),
        ("--set", "config.harbor.url=http://[::1]:80"),
        (*HARBOR, *set_json(config={"registries": _REGISTRIES})),
        (*HARBOR, *set_json(config={"registries": [{"host": "index.docker.io", "project": "p"}]})),
    ],
)
def test_the_fence_s_fingerprint_is_that_of_the_config(arguments):
    """
    Helm computes of its values what the controller computes of the config file it is given.
    """
    objects = render(*arguments)
    text = named(objects, "ConfigMap", "harbor-cache-webhook")["data"]["config.yaml"]
    expected = parse_config(text, {}).rules.fingerprint
    deployment = named(objects, "Deployment", "harbor-cache-webhook-controller")
    [container] = deployment["spec"]["template"]["spec"]["containers"]

    annotations = named(objects, "ValidatingAdmissionPolicy", _FENCE)["metadata"]["annotations"]
    assert expected == annotations["harbor-cache.io/rules"]
    assert f"--fence={expected}" in container["args"]


@pytest.mark.parametrize("switch", ["rescue", "enabled"])
def test_a_fence_without_rescue_is_none_to_rescue_by(switch):
    """
    Where the fence lets nothing be moved to Harbor, the controller is told of no rules to do it by.
    """
    objects = render(*HARBOR, "--set", f"config.recovery.{switch}=false")
    deployment = named(objects, "Deployment", "harbor-cache-webhook-controller")
    [container] = deployment["spec"]["template"]["spec"]["containers"]

    assert "--fence=none" in container["args"]


@pytest.mark.parametrize("name", ["HARBOR_CACHE_HARBOR_URL", "HARBOR_CACHE_HARBOR_API_URL"])
def test_the_controller_s_harbor_is_that_of_the_config(name):
    """
    A variable that would move the controller's rules away from its fence is refused; others pass.
    """
    variables = [{"name": name, "value": "https://evil.example.com"}]

    assert name in refusal(*set_json(controller={"extraEnv": variables}))
    assert render(*HARBOR, *set_json(webhook={"extraEnv": variables}))
    paused = [{"name": "HARBOR_CACHE_PAUSED", "value": "true"}]
    assert render(*HARBOR, *set_json(controller={"extraEnv": paused}))
