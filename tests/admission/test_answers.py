"""
Answers that are remembered: the same as made anew, whatever differs between two reviews.
"""

import gc
import itertools
import json
import tracemalloc
import typing

from copy import deepcopy
from dataclasses import replace

import pytest

from msgspec import Struct

from webhook.admission import answers as module
from webhook.admission.admit import Question
from webhook.admission.answers import Answers
from webhook.admission.review import read_review
from webhook.config import Config
from webhook.errors import InvalidReviewError
from webhook.image.availability import UNKNOWN, Availability, State
from webhook.image.decision import _rewrite_by_rules
from webhook.pod.model import _is_dns_label


POLICY = Config.model_validate(
    {
        "apiVersion": "harbor-cache.io/v1",
        "kind": "Config",
        "harbor": {"url": "https://harbor.example"},
        "images": {"volumes": True, "ephemeralContainers": True},
        "excludeOwners": ["kubevirt.io", "StatefulSet.apps", "Service"],
        "excludePods": ["tier=db"],
        "pullSecrets": ["pull"],
    }
).policy
ALL = Availability.of_all(tuple(rule.project for rule in POLICY.rules.rules))
DIGEST = "@sha256:" + "d" * 64

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "generateName": "web-",
        "namespace": "shop",
        "uid": "0",
        "creationTimestamp": None,
        "labels": {"app": "web", "tier": "web", "harbor-cache.io/mode": "on"},
        "annotations": {
            "checksum": "0",
            "original.harbor-cache.io/pinned": "nginx:1",
            "original.harbor-cache.io/web": "other:1",
        },
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "web-5d4f",
                "uid": "1",
                "controller": True,
            }
        ],
    },
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "nginx:1",
                "imagePullPolicy": "Always",
                "env": [{"name": "A", "value": "a"}],
                "resources": {"limits": {"cpu": "1"}},
            },
            {"name": "pinned", "image": f"harbor.example/proxy.docker.io/library/nginx:1{DIGEST}"},
        ],
        "initContainers": [{"name": "init", "image": "quay.io/a/b", "imagePullPolicy": "Always"}],
        "ephemeralContainers": [
            {"name": "debug", "image": "busybox", "imagePullPolicy": "Always"},
            {"name": "old", "image": "busybox:1"},
        ],
        "volumes": [
            {"name": "kube-api-access-x2", "projected": {"sources": []}},
            {"name": "model", "image": {"reference": "quay.io/m/n", "pullPolicy": "Always"}},
        ],
        "imagePullSecrets": [{"name": "mine"}],
        "nodeName": "node",
    },
    "status": {"phase": "Pending"},
}
CREATE = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "705ab4f5",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "subResource": "",
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "name": "web-0",
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {"username": "somebody", "groups": ["a"]},
        "object": POD,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions"},
    },
}
UPDATE = deepcopy(CREATE)
UPDATE["request"] |= {"operation": "UPDATE", "subResource": "ephemeralcontainers"}
UPDATE["request"]["oldObject"] = deepcopy(POD)
UPDATE["request"]["oldObject"]["spec"]["ephemeralContainers"] = [{"name": "old", "image": "x"}]

# What a member may hold instead of what it holds, so that it matters.
INSTEAD = {
    "tier": ["db"],
    "harbor-cache.io/mode": ["off"],
    "imagePullPolicy": ["Never"],
    "pullPolicy": ["Never"],
    "checksum": ["1", "x" * (248 * 1024)],
    "image": ["auto", "nginx:2", "ghcr.io/a/b", "no image"],
    "reference": ["quay.io/m/o", "auto"],
    "operation": ["UPDATE", "DELETE"],
    "subResource": ["ephemeralcontainers", "status"],
    "original.harbor-cache.io/pinned": ["nginx:2", f"nginx:1{DIGEST}"],
    "original.harbor-cache.io/web": ["nginx:1"],
    "apiVersion": ["kubevirt.io/v1", "v1"],
    "kind": ["Service", "StatefulSet"],
    "labels": [{}, {"harbor-cache.io/rewritten": "true"}],
    "annotations": [{}, {"kubernetes.io/config.mirror": "x"}],
    "imagePullSecrets": [[], [{"name": "pull"}]],
    "name": ["web", "not a label", "other"],
    "nodeName": ["x" * 1_100_000],
}


def paths(node, path=()):
    """
    Yield the path of each member of a document, the outer ones first.
    """
    if path:
        yield path
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths(value, (*path, key))


def put(document, path, value):
    """
    Put *value*, or with `...` nothing, at *path*; where an earlier change took that away, nothing.
    """
    *way, last = path
    for key in way:
        if not isinstance(document, dict | list) or (
            isinstance(document, dict) and key not in document
        ):
            return
        if isinstance(document, list) and key >= len(document):
            return
        document = document[key]
    if isinstance(document, list) and last < len(document):
        if value is ...:
            del document[last]
        else:
            document[last] = value
    elif isinstance(document, dict):
        if value is ...:
            document.pop(last, None)
        else:
            document[last] = value


def changes(document):
    """
    Return changes of a document, each as a path and what stands there then.
    """
    found = []
    for path in paths(document):
        found += [(path, value) for value in (*INSTEAD.get(path[-1], ()), None, ..., "other")]
    return found


def changed(document, *these):
    """
    Return the document after some changes, as bytes.
    """
    document = deepcopy(document)
    for path, value in these:
        put(document, path, value)
    return json.dumps(document).encode()


def said(answer):
    admission = answer.admission
    return (
        answer.body,
        admission.mode,
        admission.images,
        admission.outcome,
        admission.counts,
        admission.described,
        admission.message,
    )


def mistakes(answers, bodies):
    """
    Yield the bodies that *answers* do not answer as they would be answered for the first time.
    """
    for body, mode in bodies:
        try:
            review = read_review(body)
        except InvalidReviewError:
            continue
        remembered = said(answers.to(review, POLICY, ALL, mode))
        if remembered != said(Answers().to(review, POLICY, ALL, mode)):
            yield body[:5000]


def alone(document):
    """
    Yield the document, and with each of its changes, in both modes.
    """
    for these in ((), *((change,) for change in changes(document))):
        body = changed(document, *these)
        yield body, "enforce"
        yield body, "audit"


def roomy():
    return Answers(max_number=1_000_000, max_bytes=1 << 40)


@pytest.mark.parametrize("document", [CREATE, UPDATE], ids=["CREATE", "UPDATE"])
def test_whatever_is_changed_the_answer_is_that_of_a_fresh_decision(document):
    """
    Each member of a review, in each way: another value that matters, one that does not, none.
    """
    bodies = list(alone(document))

    assert 400 < len(bodies)
    assert [] == list(mistakes(roomy(), bodies))


@pytest.mark.parametrize("document", [CREATE, UPDATE], ids=["CREATE", "UPDATE"])
def test_whatever_two_are_changed_the_answer_is_that_of_a_fresh_decision(document):
    """
    Each pair of members, with the first change of each: together they may matter otherwise.
    """
    first = {}
    for path, value in changes(document):
        if (
            path[:2] in (("request", "object"), ("request", "oldObject"))
            and path[-1] != "nodeName"
        ):
            first.setdefault(path, (path, value))
    pairs = itertools.combinations(first.values(), 2)

    bodies = [(changed(document, *pair), "enforce") for pair in pairs]

    assert 1000 < len(bodies)
    assert [] == list(mistakes(roomy(), bodies))


def parts(kind, seen):
    """
    Yield each member of each type that a question is made of.
    """
    if typing.get_args(kind):
        for argument in typing.get_args(kind):
            yield from parts(argument, seen)
    elif isinstance(kind, type) and issubclass(kind, Struct) and kind not in seen:
        seen.add(kind)
        for name, hint in typing.get_type_hints(kind).items():
            yield kind, name
            yield from parts(hint, seen)


PARTS = list(parts(Question, set()))


class Forgetful(dict):
    """
    What is remembered, by keys that leave one member of one type out.
    """

    def __init__(self, kind, name):
        self._left_out = (kind, name)

    def _key(self, value):
        if isinstance(value, Struct):
            names = type(value).__struct_fields__
            return tuple(
                self._key(getattr(value, name))
                for name in names
                if (type(value), name) != self._left_out
            )
        return tuple(map(self._key, value)) if isinstance(value, tuple) else value

    def get(self, question):
        return super().get(self._key(question))

    def __setitem__(self, question, known):
        super().__setitem__(self._key(question), known)


@pytest.mark.parametrize(("kind", "name"), PARTS, ids=lambda part: getattr(part, "__name__", part))
def test_no_part_of_a_question_can_be_left_out(kind, name):
    """
    Were one left out of the key, these same reviews would find it.
    """
    answers = roomy()
    answers._known = Forgetful(kind, name)

    assert next(mistakes(answers, itertools.chain(alone(CREATE), alone(UPDATE))), None)


def review(number=0, *, shape=0, containers=1, **request):
    """
    Return one as an API server sends it for the Pods of many ReplicaSets.
    """
    document = deepcopy(CREATE)
    document["request"] |= {"uid": f"uid-{number}", **request}
    pod = document["request"]["object"]
    pod["metadata"] |= {"name": f"web-{number}", "uid": f"{number}"}
    pod["metadata"]["ownerReferences"][0] |= {"name": f"web-{number}", "uid": f"{number}"}
    pod["metadata"]["labels"]["pod-template-hash"] = f"{number:x}"
    pod["spec"]["volumes"][0]["name"] = f"kube-api-access-{number:x}"
    pod["spec"]["containers"] = [
        {"name": f"c{n}", "image": f"nginx:{shape}-{n}"} for n in range(containers)
    ]
    return read_review(json.dumps(document).encode())


@pytest.fixture
def made(monkeypatch):
    """
    Note the questions that are decided, not remembered.
    """
    questions = []
    decide = module.admit

    def admit(question, *rest):
        questions.append(question)
        return decide(question, *rest)

    monkeypatch.setattr(module, "admit", admit)
    return questions


def test_pods_of_one_shape_are_decided_once_and_each_gets_its_own_uid(made):
    """
    What an API server makes up for each Pod is nothing to the decision.
    """
    answers = Answers()

    bodies = [
        json.loads(answers.to(review(number), POLICY, ALL, "enforce").body) for number in range(3)
    ]

    assert 1 == len(made)
    assert ["uid-0", "uid-1", "uid-2"] == [body["response"].pop("uid") for body in bodies]
    assert bodies[0] == bodies[1] == bodies[2]


@pytest.mark.parametrize(
    "uid", ['"', "\\", "é", "\n", "\u2028", "<", "x" * 256, "\U0001f433"], ids=ascii
)
def test_any_uid_stands_in_its_answer(uid):
    """
    It is text from outside, and put in front of bytes that are written already.
    """
    answer = Answers().to(review(uid=uid), POLICY, ALL, "enforce")

    assert uid == json.loads(answer.body)["response"]["uid"]


@pytest.mark.parametrize(
    ("policy", "availability"),
    [
        (replace(POLICY, paused=True), ALL),
        (POLICY, UNKNOWN),
        (POLICY, Availability(State.AVAILABLE, {})),
        (POLICY, replace(ALL, quarantined=frozenset({"docker.io/library/nginx:0-0"}))),
    ],
)
def test_all_is_forgotten_with_another_policy_or_other_knowledge(policy, availability):
    """
    What was decided before holds no longer, and holds again when all is as it was.
    """
    answers = Answers()

    outcomes = [
        answers.to(review(), *state, "enforce").admission.outcome_of(
            answers.to(review(), *state, "enforce").admission.images[0]
        )
        for state in ((POLICY, ALL), (policy, availability), (POLICY, ALL))
    ]

    assert ["rewritten", "kept", "rewritten"] == outcomes


def test_knowledge_that_says_the_same_is_no_reason_to_forget(made):
    """
    A new snapshot is taken every few seconds, mostly with the same in it.
    """
    answers = Answers()
    answers.to(review(), POLICY, ALL, "enforce")
    answers.to(review(), POLICY, replace(ALL), "enforce")

    assert 1 == len(made)


def test_failures_are_not_remembered(monkeypatch):
    """
    After a failure the next review is decided again.
    """

    def explode(*args):
        raise ZeroDivisionError

    answers = Answers()
    with monkeypatch.context() as patch:
        patch.setattr(module, "admit", explode)
        failed = answers.to(review(), POLICY, ALL, "enforce")

    assert "kept" == failed.admission.outcome
    assert "rewritten" == answers.to(review(), POLICY, ALL, "enforce").admission.outcome


def test_no_more_are_remembered_than_allowed(made):
    """
    When there is no room any more, one in eight takes the place of the oldest.
    """
    answers = Answers(max_number=2)
    for shape in range(20):
        answers.to(review(shape=shape), POLICY, ALL, "enforce")
    full = len(made)
    for shape in (1, 9, 17):
        answers.to(review(shape=shape), POLICY, ALL, "enforce")

    assert 20 == full
    assert 2 == len(answers._known)
    assert 21 == len(made)


@pytest.mark.parametrize("containers", [1, 3, 50])
def test_what_is_remembered_stays_within_its_bytes(containers):
    """
    As the interpreter counts them, whatever the Pods look like, and once each has been described.
    """
    limit = 1024 * 1024
    bodies = [review(shape=shape, containers=containers) for shape in range(3000 // containers)]
    answers = Answers(max_bytes=limit)
    Answers().to(bodies[0], POLICY, ALL, "enforce")  # What else is made once, is made now.
    gc.collect()
    tracemalloc.start()
    try:
        for body in bodies:
            answers.to(body, POLICY, ALL, "enforce")
            _ = answers.to(body, POLICY, ALL, "enforce").admission.described
        _rewrite_by_rules.cache_clear()
        _is_dns_label.cache_clear()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 10 < len(answers._known)
    print(f"{answers._bytes:,} by our count, {taken:,} by the interpreter's")
    assert taken < answers._bytes <= limit


def test_one_huge_pod_is_not_remembered(made):
    """
    It would push out what all others need.
    """
    answers = Answers(max_bytes=1024 * 1024)
    for _ in range(2):
        answers.to(review(containers=1000), POLICY, ALL, "enforce")

    assert 2 == len(made)
    assert {} == answers._known
