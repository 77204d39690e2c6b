"""
The chart's objects at a real API server, and the fences tried with the controller's own token.
"""

import asyncio
import base64
import copy
import time

import pytest

from tests.support.helm import CHART, HARBOR, render
from tests.support.kube.client import ApiClient, object_path


pytestmark = pytest.mark.kube

_NAME = "harbor-cache-webhook"
_NAMESPACE = "harbor-cache"
_CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{_NAME}"
_OTHER_CONFIGURATION = f"{_CONFIGURATION}-of-others"
_ORIGINAL = "original.harbor-cache.io"
_KINDS_OF_OTHERS = {
    "Certificate",
    "GrafanaDashboard",
    "Issuer",
    "PrometheusRule",
    "ServiceMonitor",
}


def _namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _unhooked(objects):
    return [
        item for item in objects if "helm.sh/hook" not in item["metadata"].get("annotations", {})
    ]


@pytest.fixture
async def installed(client):
    """
    Apply a default install, without helm, and take it away again.
    """
    objects = _unhooked(render(*HARBOR))
    other = copy.deepcopy(
        next(item for item in objects if item["kind"] == "MutatingWebhookConfiguration")
    )
    other["metadata"]["name"] += "-of-others"
    objects.append(other)
    (await client.apply(_namespace(_NAMESPACE))).expect()
    for item in objects:
        (await client.apply(item)).expect()
    yield objects
    for item in reversed(objects):
        await client.delete(object_path(item))


@pytest.fixture
async def controller(client, installed, cluster):
    """
    Yield a client with the controller's own token, once its fences stand.
    """
    path = f"/api/v1/namespaces/{_NAMESPACE}/serviceaccounts/{_NAME}-controller/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = (await client.request("POST", path, request)).expect()["status"]["token"]
    async with ApiClient(cluster, token=token) as opened:
        await _wait_for_fences(opened)
        yield opened


async def _wait_for_fences(controller):
    """
    Wait until the API server has heard of both policies and of the role: it takes a moment.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        patch = [{"op": "add", "path": "/metadata/labels/fenced", "value": "no"}]
        answer = await controller.patch(_CONFIGURATION, patch, kind="json-patch", dryRun="All")
        if "caBundle only" in answer.body.get("message", ""):
            break
        await asyncio.sleep(0.1)
    else:
        raise TimeoutError("the fence around the webhook configuration does not stand")


@pytest.fixture
async def pod(client, make_namespace, controller):
    """
    Create a Pod as the webhook leaves it, and return its path once its fence stands.
    """
    namespace = await make_namespace()
    thing = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "namespace": namespace,
            "labels": {"harbor-cache.io/rewritten": "true", "app": "web"},
            "annotations": {
                f"{_ORIGINAL}/web": "nginx:1",
                f"{_ORIGINAL}/init": "quay.io/a/init:1",
            },
        },
        "spec": {
            "initContainers": [
                {"name": "init", "image": "harbor.example.com/proxy.quay.io/a/init:1"}
            ],
            "containers": [
                {"name": "web", "image": "harbor.example.com/proxy.docker.io/library/nginx:1"},
                {"name": "side", "image": "registry.example.com/side:1"},
            ],
        },
    }
    (await client.create(thing)).expect()
    path = object_path(thing)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = await controller.patch(
            path, _label("fenced", "no"), kind="json-patch", dryRun="All"
        )
        if answer.status == 422:
            return path
        await asyncio.sleep(0.1)
    raise TimeoutError("the fence around Pods does not stand")


def _image(image, container=0, field="containers"):
    return [{"op": "replace", "path": f"/spec/{field}/{container}/image", "value": image}]


def _label(name, value):
    return [{"op": "add", "path": f"/metadata/labels/{name.replace('/', '~1')}", "value": value}]


def _annotation(name, value):
    return [
        {"op": "add", "path": f"/metadata/annotations/{name.replace('/', '~1')}", "value": value}
    ]


@pytest.mark.parametrize(
    "values", sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.stem
)
async def test_the_api_server_accepts_every_object(client, values):
    """
    A server-side dry run with strict validation finds no unknown field in any mode.
    """
    objects = render("--values", str(values))
    (await client.apply(_namespace(_NAMESPACE))).expect()
    for item in objects:
        if item["kind"] == "Namespace":
            (await client.apply(_namespace(item["metadata"]["name"]))).expect()
    checked = 0
    for item in objects:
        if item["kind"] in _KINDS_OF_OTHERS:
            continue
        item["metadata"].setdefault("namespace", _NAMESPACE)
        answer = await client.apply(item, dryRun="All", fieldValidation="Strict")

        assert answer.ok, f"{item['kind']}: {answer.body['message']}"
        assert () == answer.warnings
        checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    ("patch", "what"),
    [
        (_image("nginx:1"), "a container"),
        (_image("quay.io/a/init:1", field="initContainers"), "an init container"),
        (
            [
                {"op": "test", "path": "/spec/containers/0/name", "value": "web"},
                *_image("nginx:1"),
                *_image("quay.io/a/init:1", field="initContainers"),
            ],
            "both at once",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_controller_may_restore_a_recorded_original(controller, pod, patch, what):
    """
    The one thing that the controller is there for passes the fence.
    """
    answer = await controller.patch(pod, patch, kind="json-patch")

    assert answer.status == 200, (what, answer.body)


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        pytest.param(_image("evil:1"), "only to its recorded original", id="another image"),
        pytest.param(
            _image("nginx:1", container=1), "only to its recorded original", id="no record"
        ),
        pytest.param(
            _image("nginx:1", field="initContainers"),
            "only to its recorded original",
            id="another container's record",
        ),
        pytest.param(
            _annotation(f"{_ORIGINAL}/side", "evil:1") + _image("evil:1", container=1),
            "only to its recorded original",
            id="a record forged in the same patch",
        ),
        pytest.param(
            _annotation(f"{_ORIGINAL}/web", "evil:1"), "may not change labels", id="a record"
        ),
        pytest.param(_annotation("note", "x"), "may not change labels", id="an annotation"),
        pytest.param(_label("app", "other"), "may not change labels", id="a label"),
        pytest.param(
            [{"op": "remove", "path": "/metadata/labels/harbor-cache.io~1rewritten"}],
            "may not change labels",
            id="our label",
        ),
        pytest.param(
            [{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/stay"]}],
            "may not change labels",
            id="a finalizer",
        ),
        pytest.param(
            [
                {
                    "op": "add",
                    "path": "/metadata/ownerReferences",
                    "value": [
                        {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1-2-3"},
                    ],
                }
            ],
            "may not change labels",
            id="an owner",
        ),
        pytest.param(
            [{"op": "add", "path": "/spec/tolerations/0", "value": {"operator": "Exists"}}],
            "how a Pod is scheduled or ended",
            id="a toleration",
        ),
        pytest.param(
            [{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1}],
            "how a Pod is scheduled or ended",
            id="a deadline",
        ),
    ],
)
async def test_the_controller_may_change_nothing_else_of_a_pod(controller, pod, patch, said):
    """
    With the controller's own token, the API server refuses whatever is no restoring.
    """
    answer = await controller.patch(pod, patch, kind="json-patch")

    assert answer.status == 422, answer.body
    assert said in answer.body["message"]


async def test_the_controller_may_not_touch_pods_that_were_not_rewritten(client, controller, pod):
    """
    A Pod without our label is none of the controller's business, records or not.
    """
    removed = [{"op": "remove", "path": "/metadata/labels/harbor-cache.io~1rewritten"}]
    (await client.patch(pod, removed, kind="json-patch")).expect()
    answer = await controller.patch(pod, _image("nginx:1"), kind="json-patch")

    assert answer.status == 422, answer.body
    assert "only Pods that the webhook rewrote" in answer.body["message"]


async def test_others_are_not_fenced(client, pod):
    """
    Everybody else may do what they might do before.
    """
    patch = _label("app", "other") + _annotation("note", "x") + _image("other:1", container=1)
    answer = await client.patch(pod, patch, kind="json-patch")

    assert answer.status == 200, answer.body


@pytest.mark.parametrize("resource", ["secrets", "configmaps", "serviceaccounts", "pods"])
async def test_the_controller_s_role_ends_where_it_should(controller, resource):
    """
    Beside its own objects the controller may list or create nothing in its own namespace.
    """
    path = f"/api/v1/namespaces/{_NAMESPACE}/{resource}"
    created = await controller.request("POST", path, {"metadata": {"name": "new"}})

    assert created.status == 403, created.body
    if resource != "pods":
        assert (await controller.request("GET", path)).status == 403


async def test_the_controller_may_write_its_own_objects(controller):
    """
    The two Secrets and the quarantine, by name.
    """
    for name in (f"secrets/{_NAME}-ca", f"secrets/{_NAME}-tls", f"configmaps/{_NAME}-quarantine"):
        path = f"/api/v1/namespaces/{_NAMESPACE}/{name}"
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


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param(
            [
                {"op": "remove", "path": "/webhooks/1/clientConfig/service"},
                *_entry("clientConfig/url", "https://evil.example.com", "add"),
            ],
            id="url",
        ),
        pytest.param(_entry("clientConfig/service/name", "evil"), id="service name"),
        pytest.param(_entry("clientConfig/service/namespace", "evil"), id="service namespace"),
        pytest.param(_entry("clientConfig/service/path", "/evil"), id="service path"),
        pytest.param(_entry("clientConfig/service/port", 8443), id="service port"),
        pytest.param(_entry("rules/0/operations", ["CREATE", "UPDATE"]), id="operations"),
        pytest.param(_entry("rules/0/resources", ["pods", "secrets"]), id="resources"),
        pytest.param(_entry("rules", []), id="rules"),
        pytest.param(_entry("namespaceSelector", {}), id="namespaceSelector"),
        pytest.param(
            _entry("namespaceSelector/matchExpressions/0/values", ["kube-system"]),
            id="excluded namespaces",
        ),
        pytest.param(_entry("objectSelector", {}), id="objectSelector"),
        pytest.param(_entry("matchConditions", []), id="matchConditions"),
        pytest.param(_entry("failurePolicy", "Fail"), id="failurePolicy"),
        pytest.param(_entry("timeoutSeconds", 30), id="timeoutSeconds"),
        pytest.param(_entry("reinvocationPolicy", "Never"), id="reinvocationPolicy"),
        pytest.param(_entry("matchPolicy", "Exact"), id="matchPolicy"),
        pytest.param(_entry("sideEffects", "NoneOnDryRun"), id="sideEffects"),
        pytest.param(_entry("name", "other.harbor-cache.io"), id="name"),
        pytest.param([{"op": "remove", "path": "/webhooks/1"}], id="an entry less"),
        pytest.param([{"op": "remove", "path": "/webhooks"}], id="no entry"),
        pytest.param(
            [
                {"op": "copy", "from": "/webhooks/0", "path": "/webhooks/2"},
                {"op": "replace", "path": "/webhooks/2/name", "value": "more.harbor-cache.io"},
            ],
            id="an entry more",
        ),
        pytest.param(
            [{"op": "move", "from": "/webhooks/0", "path": "/webhooks/1"}], id="another order"
        ),
        pytest.param(_label("x", "y"), id="a label"),
    ],
)
async def test_the_controller_may_change_nothing_else_of_its_webhook_configuration(
    controller, patch
):
    """
    With the controller's own token, the API server refuses any change beside caBundle.
    """
    answer = await controller.patch(_CONFIGURATION, patch, kind="json-patch")

    assert answer.status == 422, answer.body
    assert "caBundle only" in answer.body["message"]


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
            {"kind": "ServiceAccount", "name": f"{_NAME}-controller", "namespace": _NAMESPACE}
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
