"""
What is decided about a whole Pod.
"""

import json

import pytest

from click.testing import CliRunner
from msgspec import convert

from webhook.cli import main
from webhook.config import Config
from webhook.image.availability import Availability
from webhook.pod.decision import decide_pod
from webhook.pod.model import MAX_ANNOTATION_BYTES, RECORD_PREFIX, Pod


HARBOR = "harbor.example"
DIGEST = "sha256:" + "a" * 64


def config(**keys):
    harbor = {"url": f"https://{HARBOR}"}
    return Config.model_validate(
        {"apiVersion": "harbor-cache.io/v1", "kind": "Config", "harbor": harbor, **keys}
    )


def decide(pod, **keys):
    policy = config(**keys).policy
    available = Availability.of_all(tuple(rule.project for rule in policy.rules.rules))
    return decide_pod(convert(pod, Pod), policy, available)


def pod(*images, **metadata):
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    return {"metadata": metadata, "spec": {"containers": containers}}


def owned_by(api_version, kind, **more):
    return pod("nginx:1", ownerReferences=[{"apiVersion": api_version, "kind": kind, **more}])


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("postgresql.cnpg.io/v1", "Cluster"),
        ("operators.coreos.com/v1alpha1", "CatalogSource"),
        ("kubevirt.io/v1", "VirtualMachineInstance"),
        ("workloads.kubeblocks.io/v1", "InstanceSet"),
        ("v1", "Service"),
    ],
)
def test_pods_of_operators_that_compare_images_are_left_alone(api_version, kind):
    """
    By default: CloudNativePG, OLM, KubeVirt, KubeBlocks, and vcluster by its core Service.
    """
    (image,) = decide(owned_by(api_version, kind, controller=True))

    assert "owner-excluded" == image.reason


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("serving.knative.dev/v1", "Service"),
        ("sub.kubevirt.io/v1", "VirtualMachineInstance"),
        ("kubevirt.iox/v1", "VirtualMachineInstance"),
        ("", ""),
    ],
)
def test_pods_of_others_are_rewritten(api_version, kind):
    """
    A kind of the core group is no kind of another group, and a group is no group below it.
    """
    (image,) = decide(owned_by(api_version, kind))

    assert "rule" == image.reason


@pytest.mark.parametrize(
    ("entry", "api_version", "kind", "expected"),
    [
        ("StatefulSet.apps", "apps/v1", "StatefulSet", "owner-excluded"),
        ("StatefulSet.apps", "apps/v1", "ReplicaSet", "rule"),
        ("StatefulSet.apps", "apps.kruise.io/v1beta1", "StatefulSet", "rule"),
        ("apps", "apps/v1", "ReplicaSet", "owner-excluded"),
        ("ReplicationController", "v1", "ReplicationController", "owner-excluded"),
        ("ReplicationController", "example.com/v1", "ReplicationController", "rule"),
    ],
)
def test_owners_are_named_by_group_by_kind_and_group_or_by_core_kind(
    entry, api_version, kind, expected
):
    """
    An entry matches just the owners that it names.
    """
    (image,) = decide(owned_by(api_version, kind), excludeOwners=[entry])

    assert expected == image.reason


def test_any_owner_counts():
    """
    The one that excludes a Pod need neither be the first nor control it.
    """
    owners = [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "controller": True},
        {"apiVersion": "v1", "kind": "Service"},
    ]

    (image,) = decide(pod("nginx", ownerReferences=owners))

    assert "owner-excluded" == image.reason


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"application": "spilo", "cluster-name": "acid"}, "owner-excluded"),
        ({"application": "other"}, "rule"),
        ({"tier": "db"}, "owner-excluded"),
        (None, "rule"),
    ],
)
def test_pods_are_left_alone_by_their_labels(labels, expected):
    """
    One of several selectors is enough.
    """
    (image,) = decide(
        pod("nginx", labels=labels), excludePods=["application=spilo", "tier in (db, mq)"]
    )

    assert expected == image.reason


def test_what_an_injector_fills_in_is_left_alone():
    """
    Only exactly that text is a placeholder, and the Pod's other images are rewritten.
    """
    images = decide(pod("auto", "nginx", "auto:1", "library/auto", "docker.io/library/auto"))
    ours = decide(pod("auto", "inject-me"), placeholders=["inject-me"])
    never = pod("auto")
    never["spec"]["containers"][0]["imagePullPolicy"] = "Never"

    assert ["placeholder", *["rule"] * 4] == [image.reason for image in images]
    assert ["rule", "placeholder"] == [image.reason for image in ours]
    assert ["placeholder"] == [image.reason for image in decide(never)]
    assert ["auto", "other", ""] == [images[0].result, images[0].registry, images[0].record]


def test_commands_agree_about_a_placeholder(tmp_path):
    """
    `explain` names the reason, and `rewrite` leaves the text as it is.
    """
    manifest = json.dumps({"apiVersion": "v1", "kind": "Pod", **pod("auto", "nginx")})
    (tmp_path / "pod.json").write_text(manifest)
    run = CliRunner().invoke

    explained = run(main, ["explain", "-o", "json", "auto"])
    rewritten = run(main, ["rewrite", str(tmp_path / "pod.json")])

    assert {
        "image": "auto",
        "outcome": "kept",
        "reason": "placeholder",
        "result": "auto",
    } == json.loads(explained.stdout)
    assert '"image": "auto"' in rewritten.stdout
    assert "library/nginx" in rewritten.stdout


@pytest.mark.parametrize(("spare", "expected"), [(0, "rule"), (-1, "too-large")])
def test_room_for_annotations_of_others_stays_free(spare, expected):
    """
    With the record, annotations stay 8 KiB under the limit; what has no record is not concerned.
    """
    ours = len(RECORD_PREFIX + "c0" + "nginx:1") + len("a")
    before = pod("nginx:1", "ghcr.io/a/b", annotations={"a": "x" * (248 * 1024 - ours - spare)})

    images = decide(before)

    assert 248 * 1024 == MAX_ANNOTATION_BYTES
    assert [expected, "no-rule"] == [image.reason for image in images]


def test_annotations_are_counted_in_bytes():
    """
    As the API server counts them, where characters take more than one byte.
    """
    (image,) = decide(pod("nginx", annotations={"a": "é" * (125 * 1024)}))

    assert "too-large" == image.reason


@pytest.mark.parametrize(
    ("record", "image", "expected"),
    [
        ("nginx:1.27", f"library/nginx:1.27@{DIGEST}", f"nginx:1.27@{DIGEST}"),
        ("nginx:1.27", f"library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        ("nginx", f"library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        ("docker.io/acme/a:1", f"acme/a:1@{DIGEST}", f"docker.io/acme/a:1@{DIGEST}"),
        ("nginx:1.27", "library/nginx:1.27", ""),
        (f"nginx:1@{DIGEST}", f"library/nginx:1@{DIGEST}", ""),
        ("nginx:1.27", f"library/nginx:1.28@{DIGEST}", ""),
        ("nginx:1.27", f"library/other@{DIGEST}", ""),
        ("nginx:1.27", "library/nginx:1.28", ""),
        (f"nginx@{DIGEST}", "library/nginx@sha256:" + "b" * 64, ""),
        ("evil.example/nginx:1.27", f"library/nginx@{DIGEST}", ""),
        ("", f"library/nginx@{DIGEST}", ""),
    ],
)
def test_the_record_follows_a_digest_that_was_pinned_since(record, image, expected):
    """
    Only where it leads to this very image but for the digest; anything else stays as it is.
    """
    annotations = {RECORD_PREFIX + "c0": record} if record else {}
    (decision,) = decide(pod(f"{HARBOR}/proxy.docker.io/{image}", annotations=annotations))

    assert ("already-cached", expected) == (decision.reason, decision.record)
