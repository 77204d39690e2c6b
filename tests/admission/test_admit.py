"""
From an admission review to its answer, without sockets.
"""

import base64
import gc
import json
import time
import tracemalloc

from copy import deepcopy

import jsonpatch
import pytest

from msgspec import ValidationError, convert
from msgspec.json import decode

from webhook.admission import respond as responding
from webhook.admission.answers import Answers
from webhook.admission.review import read_review
from webhook.config import default_config
from webhook.errors import InvalidReviewError
from webhook.image.availability import UNKNOWN, Availability, State
from webhook.pod import decision as deciding
from webhook.pod.decision import Policy, decide_pod
from webhook.pod.model import RECORD_PREFIX, REWRITTEN_LABEL, Pod


HARBOR = "harbor-cache.example.com"
CONFIG = default_config()
POLICY = CONFIG.policy
ALL = Availability.of_all(tuple(registry.project for registry in CONFIG.registries))


def pod(*images, **spec):
    containers = [{"name": f"c{i}", "image": image} for i, image in enumerate(images)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": containers, **spec},
    }


def review(obj, *, operation="CREATE", sub_resource="", old=None, **request):
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "6b1c",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "subResource": sub_resource,
            "operation": operation,
            "namespace": "default",
            "object": obj,
            "oldObject": old,
            "dryRun": False,
            **request,
        },
    }


def ask(obj, policy=POLICY, availability=ALL, mode="enforce", **request):
    return answer_to(json.dumps(review(obj, **request)).encode(), policy, availability, mode)


def answer_to(body, policy=POLICY, availability=ALL, mode="enforce"):
    return Answers().to(read_review(body), policy, availability, mode)


def patched(obj, answer):
    """
    Apply the answer's patch with an independent library, as the API server would.
    """
    response = json.loads(answer.body)["response"]
    assert response["allowed"] is True
    assert response["uid"] == "6b1c"
    if "patch" not in response:
        return obj
    assert response["patchType"] == "JSONPatch"
    return jsonpatch.apply_patch(obj, json.loads(base64.b64decode(response["patch"])))


def test_rewrites_images_and_records_originals():
    """
    Images of containers and init containers lead to Harbor, and nothing else changes.
    """
    before = pod("nginx", "quay.io/a/b:1@sha256:" + "a" * 64)
    before["spec"]["initContainers"] = [{"name": "i", "image": "k8s.gcr.io/pause:3.9"}]
    before["spec"]["fieldOfTheFuture"] = {"deep": [1, {"x": None}]}
    expected = deepcopy(before)
    expected["spec"]["containers"][0]["image"] = f"{HARBOR}/proxy.docker.io/library/nginx"
    expected["spec"]["containers"][1]["image"] = f"{HARBOR}/proxy.quay.io/a/b:1@sha256:" + "a" * 64
    expected["spec"]["initContainers"][0]["image"] = f"{HARBOR}/proxy.k8s.gcr.io/pause:3.9"
    expected["metadata"]["labels"] = {REWRITTEN_LABEL: "true"}
    expected["metadata"]["annotations"] = {
        RECORD_PREFIX + "c0": "nginx",
        RECORD_PREFIX + "c1": "quay.io/a/b:1@sha256:" + "a" * 64,
        RECORD_PREFIX + "i": "k8s.gcr.io/pause:3.9",
    }

    answer = ask(before)

    assert expected == patched(before, answer)
    assert answer.admission.outcome == "rewritten"


def test_second_pass_changes_nothing():
    """
    A reinvocation, or a manifest copied from a rewritten Pod, gets no patch.
    """
    before = pod("nginx")
    once = patched(before, ask(before))

    answer = ask(once)

    assert "patch" not in json.loads(answer.body)["response"]
    assert [image.reason for image in answer.admission.images] == ["already-cached"]


def test_record_of_rewritten_container_is_overwritten_and_others_stay():
    """
    What a Pod brings along can't pass as the record of a container that is rewritten now.
    """
    before = pod("nginx")
    before["metadata"]["annotations"] = {
        RECORD_PREFIX + "c0": "evil/x",
        RECORD_PREFIX + "other": "y",
        "a": "b",
    }

    after = patched(before, ask(before))

    assert after["metadata"]["annotations"] == {
        RECORD_PREFIX + "c0": "nginx",
        RECORD_PREFIX + "other": "y",
        "a": "b",
    }


def test_record_follows_a_digest_on_reinvocation_and_then_stays():
    """
    A webhook behind ours pinned what we wrote: only the record changes, and only once.
    """
    pinned = patched(pod("nginx:1", "redis:7"), ask(pod("nginx:1", "redis:7")))
    pinned["spec"]["containers"][0]["image"] += "@sha256:" + "a" * 64
    expected = deepcopy(pinned)
    expected["metadata"]["annotations"][RECORD_PREFIX + "c0"] = "nginx:1@sha256:" + "a" * 64

    again = ask(pinned)

    assert expected == patched(pinned, again)
    assert "kept" == again.admission.outcome
    assert expected == patched(expected, ask(expected))
    assert pinned == patched(pinned, ask(pinned, mode="audit"))


@pytest.mark.parametrize(
    ("labels", "annotations"),
    [(None, None), ({}, {}), ({"a/b~c": "1"}, None), (None, {"x": "y"})],
)
def test_labels_and_annotations_are_added_whatever_is_there(labels, annotations):
    """
    The patch applies whether labels and annotations are absent, null, empty or there.
    """
    before = pod("nginx")
    before["metadata"] |= {"labels": labels, "annotations": annotations}

    after = patched(before, ask(before))

    assert (labels or {}) | {REWRITTEN_LABEL: "true"} == after["metadata"]["labels"]
    assert (annotations or {}) | {RECORD_PREFIX + "c0": "nginx"} == after["metadata"][
        "annotations"
    ]


def test_pod_without_metadata_is_rewritten():
    """
    Even a Pod without metadata gets a patch that applies.
    """
    before = pod("nginx")
    del before["metadata"]

    after = patched(before, ask(before))

    assert after["metadata"]["labels"] == {REWRITTEN_LABEL: "true"}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"annotations": {"kubernetes.io/config.mirror": "x"}}, "mirror-pod"),
        ({"labels": {"harbor-cache.io/mode": "off"}}, "opted-out"),
        (
            {"ownerReferences": [{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster"}]},
            "owner-excluded",
        ),
    ],
)
def test_pods_that_are_left_alone(metadata, reason):
    """
    Mirror Pods, opted-out Pods and Pods of excluded owners are kept, with the reason.
    """
    before = pod("nginx", "quay.io/a/b")
    before["metadata"] |= metadata

    answer = ask(before)

    assert before == patched(before, answer)
    assert [reason, reason] == [image.reason for image in answer.admission.images]


@pytest.mark.parametrize(
    ("availability", "reason"),
    [
        (UNKNOWN, "harbor-unavailable"),
        (Availability(State.UNAVAILABLE, ALL.projects), "harbor-unavailable"),
        (Availability(State.AVAILABLE, {}), "project-unavailable"),
        (
            Availability(State.AVAILABLE, ALL.projects, frozenset({"docker.io/library/nginx:1"})),
            "quarantined",
        ),
    ],
)
def test_images_that_harbor_may_not_serve_are_kept(availability, reason):
    """
    Whatever is not known to be good leaves the image alone.
    """
    before = pod("nginx:1")

    answer = ask(before, availability=availability)

    assert before == patched(before, answer)
    assert [reason] == [image.reason for image in answer.admission.images]


def test_paused_leaves_everything_alone():
    """
    The panic button names itself as the reason.
    """
    answer = ask(pod("nginx"), Policy(rules=CONFIG.rules, paused=True))

    assert [image.reason for image in answer.admission.images] == ["paused"]


def test_pull_policy_never_is_kept():
    """
    An image that is never pulled is on the node under its own name.
    """
    before = pod("nginx")
    before["spec"]["containers"][0]["imagePullPolicy"] = "Never"

    answer = ask(before)

    assert before == patched(before, answer)
    assert [image.reason for image in answer.admission.images] == ["pull-policy-never"]


def test_container_whose_original_cannot_be_recorded_is_kept():
    """
    No record, no way back: such a Pod is refused by validation anyway, but not because of us.
    """
    before = pod("nginx", "nginx")
    before["spec"]["containers"][0]["name"] = "not/a~label"
    before["spec"]["initContainers"] = [{"name": "c1", "image": "nginx"}]

    answer = ask(before)

    assert before == patched(before, answer)
    assert {"not-recoverable"} == {image.reason for image in answer.admission.images}


def test_nothing_of_a_large_pod_stays_in_memory():
    """
    Names and images of any length come here before the API server checks them; none is kept.
    """
    ask(pod("nginx"))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20):
            large = pod("nginx", f"nginx:{number}" + "b" * 300_000)
            large["spec"]["containers"][0]["name"] = f"{number}" + "a" * 300_000
            ask(large)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 2_000_000


def test_image_volumes_only_where_the_config_says_so():
    """
    A volume's reference can't be restored, so it is rewritten on demand only, without a record.
    """
    volumes = [{"name": "v", "image": {"reference": "quay.io/a/b"}}, {"name": "w", "emptyDir": {}}]
    before = pod("localhost:5000/x", volumes=volumes)

    kept = ask(before)
    after = patched(before, ask(before, Policy(rules=CONFIG.rules, volumes=True)))

    assert kept.admission.images[1].reason == "not-recoverable"
    assert f"{HARBOR}/proxy.quay.io/a/b" == after["spec"]["volumes"][0]["image"]["reference"]
    assert after["metadata"]["labels"] == {REWRITTEN_LABEL: "true"}
    assert "annotations" not in after["metadata"]


def test_only_new_ephemeral_containers_are_rewritten():
    """
    A change of an existing ephemeral container, of metadata or of containers would be refused.
    """
    old = pod("nginx")
    old["spec"]["ephemeralContainers"] = [{"name": "e0", "image": "busybox"}]
    new = deepcopy(old)
    new["spec"]["ephemeralContainers"].append({"name": "e1", "image": "busybox"})
    expected = deepcopy(new)
    expected["spec"]["ephemeralContainers"][1]["image"] = (
        f"{HARBOR}/proxy.docker.io/library/busybox"
    )
    request = {"operation": "UPDATE", "sub_resource": "ephemeralcontainers", "old": old}

    answer = ask(new, Policy(rules=CONFIG.rules, ephemeral_containers=True), **request)

    assert expected == patched(new, answer)
    assert [image.reason for image in ask(new, **request).admission.images] == ["not-recoverable"]


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "CONNECT", ""])
def test_other_operations_get_no_patch(operation):
    """
    A changed image on UPDATE would restart a running container.
    """
    before = pod("nginx")

    answer = ask(before, operation=operation)

    assert before == patched(before, answer)
    assert answer.admission.images == ()


def test_audit_changes_nothing_and_says_what_would_change():
    """
    In audit mode the Pod stays, and one short warning without control characters sums up.
    """
    before = pod("nginx", *[f"quay.io/a/image-{i}" for i in range(30)], "x\n\x1b[31m")

    answer = ask(before, mode="audit")

    response = json.loads(answer.body)["response"]
    assert before == patched(before, answer)
    assert answer.admission.outcome == "would-rewrite"
    assert len(response["warnings"]) == 1
    assert len(response["warnings"][0]) <= 256
    assert response["warnings"][0].isprintable()
    assert {"would-rewrite", "kept"} == set(response["auditAnnotations"])
    assert all(len(value) <= 1024 for value in response["auditAnnotations"].values())


def test_audit_annotations_name_each_reason():
    """
    The API server's audit log gets to know what became of each image, and why.
    """
    response = json.loads(ask(pod("nginx", "registry.corp.example/x", "NGINX")).body)["response"]

    assert {
        "rewritten": "c0",
        "kept": "c1=no-rule, c2=invalid-reference",
    } == response["auditAnnotations"]


def test_mode_audit_in_the_config_turns_enforce_into_audit():
    """
    One setting makes a first rollout harmless everywhere.
    """
    before = pod("nginx")

    answer = ask(before, Policy(rules=CONFIG.rules, mode="audit"), mode="enforce")

    assert before == patched(before, answer)
    assert answer.admission.mode == "audit"


def test_pull_secrets_are_appended_once_and_nothing_is_replaced():
    """
    The user's own secrets stay: they are needed when a Pod goes back to its original image.
    """
    policy = Policy(rules=CONFIG.rules, pull_secrets=("mine", "harbor", "harbor"))
    absent = pod("nginx")
    present = pod("nginx", imagePullSecrets=[{"name": "mine"}])
    unchanged = pod("localhost/x")

    assert patched(absent, ask(absent, policy))["spec"]["imagePullSecrets"] == [
        {"name": "mine"},
        {"name": "harbor"},
    ]
    assert patched(present, ask(present, policy))["spec"]["imagePullSecrets"] == [
        {"name": "mine"},
        {"name": "harbor"},
    ]
    assert unchanged == patched(unchanged, ask(unchanged, policy))


def test_large_pods_are_left_alone():
    """
    A Pod near etcd's limit stays under it; HTML escapes of the API server don't count.
    """
    large = pod("nginx")
    large["metadata"]["annotations"] = {"a": "x" * 1_048_577}
    escaped = json.dumps(review(pod("nginx", nodeName="<" * 250_000)))
    escaped = escaped.replace("<", "\\u003c").encode()
    literal = json.dumps(review(pod("nginx", nodeName="\\u003c" * 180_000))).encode()

    assert [image.reason for image in ask(large).admission.images] == ["too-large"]
    assert len(escaped) > 1_048_576
    assert answer_to(escaped).admission.outcome == "rewritten"
    assert answer_to(literal).admission.outcome == "kept"


def test_annotations_stay_under_their_limit():
    """
    256 KiB of annotations is the API server's limit; our records must not pass it.
    """
    full = pod("nginx")
    full["metadata"]["annotations"] = {"a": "x" * (256 * 1024 - 1)}

    answer = ask(full)

    assert full == patched(full, answer)
    assert [image.reason for image in answer.admission.images] == ["too-large"]


@pytest.mark.parametrize(
    "obj",
    [
        None,
        5,
        [],
        {},
        {"spec": None},
        {"spec": {"containers": 5}},
        {"spec": {"containers": {"a": 1}}},
        {"spec": {"containers": [{"name": "a", "image": 5}]}},
        {"spec": {"containers": [None]}},
        {"metadata": {"labels": []}, "spec": {"containers": []}},
    ],
)
def test_a_review_with_a_senseless_object_is_allowed(obj):
    """
    Whoever can be answered is answered: allowed, unchanged, with one sentence that says why.
    """
    response = json.loads(ask(obj).body)["response"]

    assert response["allowed"] is True
    assert "patch" not in response
    assert response["status"]["message"]


def test_internal_errors_allow_the_pod(monkeypatch):
    """
    A bug of ours is an outcome with a name, never a refusal.
    """

    def explode(*args):
        raise RecursionError

    monkeypatch.setattr(deciding, "decide", explode)

    answer = ask(pod("nginx"))

    assert json.loads(answer.body)["response"]["allowed"] is True
    assert [image.reason for image in answer.admission.images] == ["internal-error"]


@pytest.mark.parametrize("name", ["_encode", "b64encode"])
def test_an_answer_that_cannot_be_written_allows_the_pod(monkeypatch, name):
    """
    Whatever fails in the encoder, the Pod is allowed as it is, and what is counted says so.
    """

    def explode(*args):
        raise ValueError

    monkeypatch.setattr(responding, name, explode)

    answer = ask(pod("nginx"))

    response = json.loads(answer.body)["response"]
    assert ("6b1c", True) == (response["uid"], response["allowed"])
    assert "patch" not in response
    assert ["internal-error"] == [image.reason for image in answer.admission.images]
    assert "kept" == answer.admission.outcome


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "Pod", "request": {"uid": "x"}}',
        b'{"apiVersion": "v1", "kind": "AdmissionReview", "request": {"uid": "x"}}',
    ],
)
def test_what_is_no_review_is_refused_with_one_sentence(body):
    """
    Without a uid there is nobody to answer; the HTTP error that follows lets the Pod through.
    """
    with pytest.raises(InvalidReviewError) as caught:
        read_review(body)

    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pod_outside_of_a_review_is_decided_in_the_same_way():
    """Surveys and manifests get the outcome that an admission in enforce mode would have."""
    obj = pod("nginx:1", "busybox")
    obj["spec"]["containers"][1]["imagePullPolicy"] = "Never"
    outcomes = decide_pod(convert(obj, Pod), POLICY, ALL)

    assert [("rewritten", "rule"), ("kept", "pull-policy-never")] == [
        (outcome.outcome, outcome.reason) for outcome in outcomes
    ]


@pytest.mark.parametrize(
    "obj",
    [
        {"spec": {"containers": [5, 5]}},
        {"spec": {"initContainers": [{"name": 5, "image": []}, {"name": 5}]}},
        {"spec": {"volumes": [[], []]}},
        {"spec": {"imagePullSecrets": [{"name": 1}, {"name": 2}]}},
        {"metadata": {"ownerReferences": [1, 2, 3]}},
        {"metadata": {"annotations": {"a": 1, "b": {}, "c": None}}},
        {"metadata": {"labels": {"a": 1, "b": {}, "c": None}}},
        {"spec": {"containers": [{}] * 20_001}},
    ],
)
def test_the_first_mistake_is_enough(obj):
    """
    A million wrong values, or a million containers, cost no more than one: the rest is not read.
    """
    with pytest.raises(ValidationError):
        decode(json.dumps(obj), type=Pod)
    answer = answer_to(json.dumps(review(obj)).encode())

    assert "kept" == answer.admission.outcome
    assert json.loads(answer.body)["response"]["allowed"] is True


@pytest.mark.parametrize(
    "obj",
    [
        '{"spec": {"containers": [' + ",".join(["{}"] * 1_000_000) + "]}}",
        '{"metadata": {"labels": {' + ",".join(f'"{i}":""' for i in range(300_000)) + "}}}",
    ],
    ids=["containers", "labels"],
)
def test_many_small_parts_take_little_memory(obj):
    """
    A review whose parts would take many times its size is allowed without a look at its Pod.
    """
    body = json.dumps(review("@")).replace('"@"', obj).encode()
    tracemalloc.start()
    try:
        answer = answer_to(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert json.loads(answer.body)["response"]["allowed"] is True
    assert "too many parts" in answer.admission.message
    assert peak < len(body) * 2


def test_many_ephemeral_containers_take_no_time_that_grows_by_the_square():
    """
    Four times as many new and old ephemeral containers take about four times as long.
    """

    def seconds(number):
        def many(prefix):
            listed = [{"name": f"{prefix}{n:x}", "image": "a"} for n in range(number)]
            return {"metadata": {}, "spec": {"ephemeralContainers": listed}}

        request = {
            "uid": "u",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "subResource": "ephemeralcontainers",
            "operation": "UPDATE",
            "object": many("new"),
            "oldObject": many("old"),
        }
        envelope = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        review = read_review(json.dumps({**envelope, "request": request}).encode())
        times = []
        for _ in range(3):
            started = time.process_time()
            Answers().to(review, POLICY, ALL, "enforce")
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(16_000) < 10 * seconds(4_000)
