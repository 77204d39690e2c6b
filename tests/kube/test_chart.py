"""
The chart's objects at a real API server, and the fences tried with the controller's own token.
"""

import asyncio
import base64
import copy
import time

import pytest
import yaml

from tests.support.helm import CHART, HARBOR, NAMESPACE, helm, render
from tests.support.kube.client import object_path
from tests.support.kube.installed import NAME, installed, wait_for_fence, without_hooks
from tests.support.kube.installed import controller as controller_client


pytestmark = pytest.mark.kube

_CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}"
_OTHER_CONFIGURATION = f"{_CONFIGURATION}-of-others"
_KINDS_OF_OTHERS = {
    "Certificate",
    "GrafanaDashboard",
    "Issuer",
    "PrometheusRule",
    "ServiceMonitor",
}


def _namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@pytest.fixture
async def controller(client, cluster):
    """
    Yield a client with the controller's own token, once its fences stand.
    """
    configuration = next(
        item for item in render(*HARBOR) if item["kind"] == "MutatingWebhookConfiguration"
    )
    other = copy.deepcopy(configuration)
    other["metadata"]["name"] += "-of-others"
    async with installed(client, more=[other]), controller_client(client, cluster) as opened:
        await wait_for_fence(opened, _CONFIGURATION, "caBundle only")
        yield opened


@pytest.fixture
async def pod(client, make_namespace, controller):
    """
    Create a Pod as the webhook leaves it, and return its path once its fence stands.
    """
    thing = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": await make_namespace("enforce")},
        "spec": {"containers": [{"name": "web", "image": "registry.example.com/web:1"}]},
    }
    (await client.create(thing)).expect()
    path = object_path(thing)
    await wait_for_fence(controller, path, "The controller may")
    return path


def _label(name, value):
    return [{"op": "add", "path": "/metadata/labels", "value": {name: value}}]


@pytest.mark.parametrize(
    "values", sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.stem
)
async def test_the_api_server_accepts_every_object(client, values):
    """
    A server-side dry run with strict validation finds no unknown field in any mode.
    """
    objects = render("--values", str(values))
    (await client.apply(_namespace(NAMESPACE))).expect()
    for item in objects:
        if item["kind"] == "Namespace":
            (await client.apply(_namespace(item["metadata"]["name"]))).expect()
    checked = 0
    for item in objects:
        if item["kind"] in _KINDS_OF_OTHERS:
            continue
        item["metadata"].setdefault("namespace", NAMESPACE)
        answer = await client.apply(item, dryRun="All", fieldValidation="Strict")

        assert answer.ok, f"{item['kind']}: {answer.body['message']}"
        assert () == answer.warnings
        checked += 1
    assert checked > 10


async def test_the_api_server_accepts_a_release_named_by_digits(client):
    """
    Neither names nor labels are taken for numbers, and Services begin with a letter.
    """
    result = helm("template", "123", str(CHART), "--namespace", NAMESPACE, *HARBOR)
    objects = without_hooks([item for item in yaml.safe_load_all(result.stdout) if item])
    (await client.apply(_namespace(NAMESPACE))).expect()
    for item in objects:
        item["metadata"].setdefault("namespace", NAMESPACE)
        (await client.apply(item, dryRun="All", fieldValidation="Strict")).expect()

    assert len(objects) > 10


@pytest.mark.parametrize("resource", ["secrets", "configmaps", "serviceaccounts", "pods"])
async def test_the_controller_s_role_ends_where_it_should(controller, resource):
    """
    Beside its own objects the controller may list nothing in its own namespace, nor read a name.

    It may create ConfigMaps alone: for that right no name can be given.
    """
    path = f"/api/v1/namespaces/{NAMESPACE}/{resource}"
    new = {"metadata": {"name": "new"}}
    created = await controller.request("POST", path, new, query={"dryRun": "All"})

    assert created.status == (201 if resource == "configmaps" else 403), created.body
    if resource != "pods":
        assert (await controller.request("GET", path)).status == 403
        assert (await controller.request("GET", f"{path}/other")).status == 403


async def test_the_controller_may_write_its_own_objects(controller):
    """
    The two Secrets and the quarantine, by name.
    """
    for name in (f"secrets/{NAME}-ca", f"secrets/{NAME}-tls", f"configmaps/{NAME}-quarantine"):
        path = f"/api/v1/namespaces/{NAMESPACE}/{name}"
        item = await controller.get(path)
        item["data"] = {"x": base64.b64encode(b"x").decode()}
        answer = await controller.request("PUT", path, item)

        assert answer.status == 200, answer.body


async def test_the_controller_may_write_the_authority(client, controller):
    """
    CaBundle of both entries passes the fence.
    """
    bundle = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n").decode()
    before = await client.get(_CONFIGURATION)
    patch = [
        operation
        for index, entry in enumerate(before["webhooks"])
        for operation in (
            {"op": "test", "path": f"/webhooks/{index}/name", "value": entry["name"]},
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle},
        )
    ]
    answer = await controller.patch(_CONFIGURATION, patch, kind="json-patch")

    # This API server checks what a bundle holds only when it calls the webhook.
    assert answer.status == 200, answer.body
    for entry in (await client.get(_CONFIGURATION))["webhooks"]:
        assert bundle == entry["clientConfig"]["caBundle"]


def _entry(path, value, op="replace"):
    return [{"op": op, "path": f"/webhooks/1/{path}", "value": value}]


_REFUSED = {
    "url": [
        {"op": "remove", "path": "/webhooks/1/clientConfig/service"},
        *_entry("clientConfig/url", "https://evil.example.com", "add"),
    ],
    "service name": _entry("clientConfig/service/name", "evil"),
    "service namespace": _entry("clientConfig/service/namespace", "evil"),
    "service path": _entry("clientConfig/service/path", "/evil"),
    "service port": _entry("clientConfig/service/port", 8443),
    "operations": _entry("rules/0/operations", ["CREATE", "UPDATE"]),
    "resources": _entry("rules/0/resources", ["pods", "secrets"]),
    "rules": _entry("rules", []),
    "namespaceSelector": _entry("namespaceSelector", {}),
    "excluded namespaces": _entry("namespaceSelector/matchExpressions/0/values", ["kube-system"]),
    "objectSelector": _entry("objectSelector", {}),
    "matchConditions": _entry("matchConditions", []),
    "failurePolicy": _entry("failurePolicy", "Fail"),
    "timeoutSeconds": _entry("timeoutSeconds", 30),
    "reinvocationPolicy": _entry("reinvocationPolicy", "Never"),
    "matchPolicy": _entry("matchPolicy", "Exact"),
    "sideEffects": _entry("sideEffects", "NoneOnDryRun"),
    "name": _entry("name", "other.harbor-cache.io"),
    "an entry less": [{"op": "remove", "path": "/webhooks/1"}],
    "no entry": [{"op": "remove", "path": "/webhooks"}],
    "an entry more": [
        {"op": "copy", "from": "/webhooks/0", "path": "/webhooks/2"},
        {"op": "replace", "path": "/webhooks/2/name", "value": "more.harbor-cache.io"},
    ],
    "another order": [{"op": "move", "from": "/webhooks/0", "path": "/webhooks/1"}],
    "a label": _label("x", "y"),
}


async def test_the_controller_may_change_nothing_else_of_its_webhook_configuration(controller):
    """
    With the controller's own token, the API server refuses any change beside caBundle.
    """
    answers = {
        what: await controller.patch(_CONFIGURATION, patch, kind="json-patch", dryRun="All")
        for what, patch in _REFUSED.items()
    }

    assert dict.fromkeys(_REFUSED, 422) == {what: each.status for what, each in answers.items()}
    for each in answers.values():
        assert "caBundle only" in each.body["message"]


async def test_the_webhook_configurations_of_others_are_out_of_reach(controller):
    """
    The role names one object, so the controller can neither read nor patch another.
    """
    assert (await controller.request("GET", _OTHER_CONFIGURATION)).status == 403
    assert (await controller.patch(_OTHER_CONFIGURATION, {})).status == 403
    assert (await controller.delete(_CONFIGURATION)).status == 403


async def test_others_may_change_the_webhook_configuration(client, controller):
    """
    Helm, GitOps and administrators are not fenced.
    """
    answer = await client.patch(
        _CONFIGURATION, _entry("timeoutSeconds", 3), kind="json-patch", dryRun="All"
    )

    assert answer.status == 200, answer.body


async def test_the_fence_holds_even_with_a_wider_role(client, controller, pod):
    """
    Should somebody grant the controller more, the fences still stand: no DELETE, no subresource.
    """
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "too-much"},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "too-much"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "too-much",
        },
        "subjects": [
            {"kind": "ServiceAccount", "name": f"{NAME}-controller", "namespace": NAMESPACE}
        ],
    }
    (await client.apply(role)).expect()
    (await client.apply(binding)).expect()
    try:
        deadline = time.monotonic() + 30
        while (await controller.request("GET", _OTHER_CONFIGURATION)).status == 403:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        status = [{"op": "add", "path": "/status/reason", "value": "x"}]

        for answer in (
            await controller.delete(pod),
            await controller.patch(f"{pod}/status", status, kind="json-patch"),
            await controller.patch(_OTHER_CONFIGURATION, _label("x", "y"), kind="json-patch"),
            await controller.delete(_CONFIGURATION),
        ):
            assert answer.status == 422, answer.body
            assert "The controller may" in answer.body["message"]
    finally:
        await client.delete(object_path(binding))
        await client.delete(object_path(role))
