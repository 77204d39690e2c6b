"""
Namespaces, Pods and images that are rewritten, warned about, or left alone.
"""

import pytest

from tests.support.kube.audit import wait_for_audit_event
from tests.support.kube.installation import installation, wait_until_rewriting
from webhook.demo.standin import Fault


pytestmark = pytest.mark.kube

_DIGEST = f"sha256:{'0a' * 32}"


def _pod(namespace, name="web", image="nginx:1", **metadata):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"containers": [{"name": "web", "image": image}]},
    }


def _images(pod, place="containers"):
    return [container["image"] for container in pod["spec"][place]]


async def test_every_container_is_rewritten(cluster, client, make_namespace, tmp_path):
    """
    Containers and init containers come out with Harbor's references, records and the label.
    """
    namespace = await make_namespace("enforce")
    pod = _pod(namespace)
    pod["spec"]["containers"].append({"name": "digest", "image": f"quay.io/a/b@{_DIGEST}"})
    pod["spec"]["containers"].append({"name": "own", "image": "registry.example.com/x:1"})
    pod["spec"]["initContainers"] = [
        {"name": "init", "image": "gcr.io/a/b:1"},
        {"name": "sidecar", "image": "k8s.gcr.io/pause:3.9", "restartPolicy": "Always"},
    ]
    async with installation(client, tmp_path) as installed:
        created = (await client.create(pod)).expect()
        event = await wait_for_audit_event(cluster, namespace, "create")

    assert _images(created) == [
        installed.cached("library/nginx:1"),
        installed.cached(f"a/b@{_DIGEST}", "proxy.quay.io"),
        "registry.example.com/x:1",
    ]
    assert _images(created, "initContainers") == [
        installed.cached("a/b:1", "proxy.gcr.io"),
        installed.cached("pause:3.9", "proxy.k8s.gcr.io"),
    ]
    assert created["metadata"]["labels"] == {"harbor-cache.io/rewritten": "true"}
    assert created["metadata"]["annotations"] == {
        "original.harbor-cache.io/web": "nginx:1",
        "original.harbor-cache.io/digest": f"quay.io/a/b@{_DIGEST}",
        "original.harbor-cache.io/init": "gcr.io/a/b:1",
        "original.harbor-cache.io/sidecar": "k8s.gcr.io/pause:3.9",
    }
    assert any(key.startswith("enforce.harbor-cache.io/") for key in event["annotations"])


async def test_audit_only_warns(cluster, client, make_namespace, tmp_path):
    """
    In an audit namespace nothing is changed; the client is warned, and the audit log has a note.
    """
    namespace = await make_namespace("audit")
    async with installation(client, tmp_path) as installed:
        answer = await client.create(_pod(namespace))
        event = await wait_for_audit_event(cluster, namespace, "create")

    assert _images(answer.expect()) == ["nginx:1"]
    assert "annotations" not in answer.body["metadata"]
    assert len(answer.warnings) == 1
    assert "nginx:1" in answer.warnings[0]
    assert installed.harbor_host in answer.warnings[0]
    assert event["annotations"]["audit.harbor-cache.io/would-rewrite"] == "web"


async def test_what_did_not_opt_in_is_untouched(client, make_namespace, tmp_path):
    """
    A namespace without the label, a Pod that opted out and a mirror Pod are left alone.
    """
    other, namespace = await make_namespace(), await make_namespace("enforce")
    mirror = _pod(namespace, "mirror", annotations={"kubernetes.io/config.mirror": "x"})
    mirror["spec"]["nodeName"] = "node-1"
    pods = [
        _pod(other),
        _pod(namespace, "out", labels={"harbor-cache.io/mode": "off"}),
        mirror,
    ]
    async with installation(client, tmp_path):
        created = [(await client.create(pod)).expect() for pod in pods]
        control = (await client.create(_pod(namespace, "control"))).expect()

    assert [_images(pod) for pod in created] == [["nginx:1"]] * 3
    assert _images(control) != ["nginx:1"]


async def _volume_and_debugger(client, namespace):
    """
    Create a Pod with an image volume, add an ephemeral container; return both references.
    """
    pod = _pod(namespace)
    pod["spec"]["volumes"] = [{"name": "data", "image": {"reference": "quay.io/a/data:1"}}]
    created = (await client.create(pod)).expect()
    debugger = {"name": "debugger", "image": "busybox:1"}
    changed = (
        await client.patch(
            f"/api/v1/namespaces/{namespace}/pods/web/ephemeralcontainers",
            {"spec": {"ephemeralContainers": [debugger]}},
        )
    ).expect()
    again = (
        await client.patch(
            f"/api/v1/namespaces/{namespace}/pods/web/ephemeralcontainers",
            {"spec": {"ephemeralContainers": [{"name": "second", "image": "alpine:1"}]}},
        )
    ).expect()
    volume = next(each for each in created["spec"]["volumes"] if each["name"] == "data")

    first, both = (
        {each["name"]: each["image"] for each in pod["spec"]["ephemeralContainers"]}
        for pod in (changed, again)
    )

    assert both["debugger"] == first["debugger"]

    return volume["image"]["reference"], both


async def test_what_is_immutable_is_kept_by_default(client, make_namespace, tmp_path):
    """
    Image volumes and ephemeral containers could not be restored, so they are kept.
    """
    namespace = await make_namespace("enforce")
    async with installation(client, tmp_path):
        volume, debuggers = await _volume_and_debugger(client, namespace)

    assert volume == "quay.io/a/data:1"
    assert debuggers == {"debugger": "busybox:1", "second": "alpine:1"}


async def test_what_is_immutable_is_rewritten_where_switched_on(client, make_namespace, tmp_path):
    """
    With both switches on, an image volume and each new ephemeral container are rewritten.
    """
    namespace = await make_namespace("enforce")
    switches = {"volumes": True, "ephemeralContainers": True}
    async with installation(client, tmp_path, images=switches) as installed:
        volume, debuggers = await _volume_and_debugger(client, namespace)

    assert volume == installed.cached("a/data:1", "proxy.quay.io")
    assert debuggers == {
        "debugger": installed.cached("library/busybox:1"),
        "second": installed.cached("library/alpine:1"),
    }


@pytest.mark.slow
async def test_every_failure_of_harbor_leaves_pods_alone(client, make_namespace, tmp_path):
    """
    However Harbor fails, Pods are created at once and unmodified, until it is back.
    """
    namespace = await make_namespace("enforce")
    noticed = {}
    async with installation(client, tmp_path) as installed:
        for fault in Fault:
            if fault is Fault.NONE:
                continue
            installed.harbor.set_fault(fault)
            noticed[fault] = await wait_until_rewriting(
                client, namespace, installed.harbor_host, rewriting=False
            )
            created = (await client.create(_pod(namespace, f"web-{fault}"))).expect()

            assert _images(created) == ["nginx:1"]
            assert created["metadata"].get("annotations", {}) == {}

            installed.harbor.set_fault(Fault.NONE)
            await wait_until_rewriting(client, namespace, installed.harbor_host, rewriting=True)
    for fault, seconds in noticed.items():
        print(f"{fault}: Pods are left alone after {seconds:.1f} s")

    assert len(noticed) == len(Fault) - 1
