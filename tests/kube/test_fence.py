"""
The fence around what the controller may do to Pods, tried with its own token.
"""

import asyncio
import copy

import pytest

from tests.support.kube.client import object_path
from tests.support.kube.every_field import Fields
from tests.support.kube.installed import (
    NAME,
    controller,
    installed,
    wait_for_fence,
)


pytestmark = pytest.mark.kube

_HARBOR = "harbor.example.com"
_HUB = f"{_HARBOR}/proxy.docker.io"
_RECORD = "original.harbor-cache.io/"
_LABEL = "harbor-cache.io/rewritten"
_D = "sha256:" + "d" * 64
_E = "sha256:" + "e" * 64
_HEX = "a" * 64
_POD_SCHEMA = "io.k8s.api.core.v1.Pod"


@pytest.fixture
async def fenced(client, cluster):
    """
    Yield a client with the controller's token, behind the fence of a default install.
    """
    async with installed(client), controller(client, cluster) as opened:
        yield opened


@pytest.fixture
def make_pod(client, fenced, make_namespace):
    """
    Return a function that creates a Pod of the given images, and returns its path.
    """

    async def make(images, *, namespace=None, records=None, labels=None, **more):
        namespace = namespace or await make_namespace("enforce")
        thing = _pod(namespace, images, records or {}, labels or {}, **more)
        (await client.create(thing)).expect()
        path = object_path(thing)
        await wait_for_fence(fenced, path, "The controller may not change labels")
        return path

    return make


def _pod(namespace, images, records, labels, **more):
    containers = [{"name": name, "image": image} for name, image in images.items()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "namespace": namespace,
            "labels": {"app": "web", **labels},
            "annotations": {"note": "x", **{_RECORD + name: r for name, r in records.items()}},
        },
        "spec": {"containers": containers, **more},
    }


def _image(image, name="web", field="containers"):
    return {"spec": {field: [{"name": name, "image": image}]}}


def _rescue(old, new, name="web", **changes):
    """
    Return what a rescue sends, with *changes* to its annotations and labels.
    """
    metadata = {"annotations": {_RECORD + name: old}, "labels": {_LABEL: "true"}} | changes
    return {"metadata": metadata, **_image(new, name)}


def _recorded(image, record):
    return {"metadata": {"annotations": {_RECORD + "web": record}}, **_image(image)}


async def _patch(client, path, patch, **query):
    kind = "json-patch" if isinstance(patch, list) else "strategic-merge-patch"
    query = {"fieldManager": "harbor-cache", "dryRun": "All"} | query
    return await client.patch(path, patch, kind=kind, **query)


def _assert_fenced(answer, said="The controller may"):
    assert answer.status == 422, answer.body
    assert f"{NAME}-controller-pods" in answer.body["message"]
    assert said in answer.body["message"]


async def test_rescues_of_every_spelling_pass(client, fenced, make_pod):
    """
    However a Pod names an image of a configured registry, it may be moved to Harbor.
    """
    hosts = ("docker.io/", "index.docker.io/", "registry-1.docker.io/", "registry.hub.docker.com/")
    spellings = {
        **{
            f"{host}{library}nginx:1": "library/nginx:1"
            for host in hosts
            for library in ("", "library/")
        },
        "nginx:1": "library/nginx:1",
        "library/nginx:1": "library/nginx:1",
        "acme/app:1": "acme/app:1",
        "docker.io/acme/app:1": "acme/app:1",
        "nginx": "library/nginx",
        f"nginx@{_D}": f"library/nginx@{_D}",
        f"nginx:1@{_D}": f"library/nginx:1@{_D}",
        "localhost:5000": "library/localhost:5000",
        "my.app:1": "library/my.app:1",
        f"docker.io/{_HEX}": f"library/{_HEX}",
        "a__b/c---d.e/f:V_1.x-y": "a__b/c---d.e/f:V_1.x-y",
        f"acme/app@sha512:{'f' * 128}": f"acme/app@sha512:{'f' * 128}",
    }
    path = await make_pod({"web": "placeholder"})
    moves = [(old, f"{_HUB}/{rest}") for old, rest in spellings.items()]

    for old, new in (*moves, ("quay.io/a/b/c:1", f"{_HARBOR}/proxy.quay.io/a/b/c:1")):
        (await client.patch(path, _image(old))).expect()
        answer = await _patch(fenced, path, _rescue(old, new))

        assert answer.status == 200, (old, answer.body)


_NO_RESCUES = [
    ("nginx:1", f"{_HUB}/library/nginx:2"),
    ("nginx:1", f"{_HUB}/library/nginx"),
    ("nginx", f"{_HUB}/library/nginx:latest"),
    ("nginx:1", f"{_HUB}/library/nginx:1@{_D}"),
    (f"nginx@{_D}", f"{_HUB}/library/nginx@{_E}"),
    ("nginx:1", f"{_HUB}/nginx:1"),
    ("docker.io/nginx:1", f"{_HUB}/nginx:1"),
    ("nginx:1", f"{_HUB}/library/library/nginx:1"),
    ("nginx:1", f"{_HUB}/library/evil:1"),
    ("nginx:1", f"{_HUB}/evil/nginx:1"),
    ("nginx:1", f"{_HARBOR}/proxy.quay.io/library/nginx:1"),
    ("nginx:1", f"{_HARBOR}/proxy.docker.io.evil/library/nginx:1"),
    ("nginx:1", f"{_HARBOR}/library/nginx:1"),
    ("nginx:1", "evil.example.com/proxy.docker.io/library/nginx:1"),
    ("nginx:1", f"{_HARBOR}.evil.example.com/proxy.docker.io/library/nginx:1"),
    ("nginx:1", f"{_HARBOR}:443/proxy.docker.io/library/nginx:1"),
    ("nginx:1", "Harbor.example.com/proxy.docker.io/library/nginx:1"),
    ("quay.io/a/b:1", f"{_HUB}/a/b:1"),
    ("a/b:1", f"{_HARBOR}/proxy.quay.io/a/b:1"),
    ("quay.io/b:1", f"{_HARBOR}/proxy.quay.io/library/b:1"),
    ("evil.example.com/a/b:1", f"{_HUB}/a/b:1"),
    ("evil.example.com/a/b:1", f"{_HUB}/evil.example.com/a/b:1"),
    ("my.host/b:1", f"{_HUB}/my.host/b:1"),
    ("localhost/b:1", f"{_HUB}/localhost/b:1"),
    ("docker.io:443/nginx:1", f"{_HUB}/library/nginx:1"),
    ("docker.io:443/a/b:1", f"{_HUB}/a/b:1"),
    ("Docker.IO/a/b:1", f"{_HUB}/a/b:1"),
    ("docker.io.evil.com/a/b:1", f"{_HUB}/a/b:1"),
    (_HEX, f"{_HUB}/library/{_HEX}"),
    (f"sha256:{_HEX}", f"{_HUB}/library/sha256:{_HEX}"),
    ("nginx:1\n2", f"{_HUB}/library/nginx:1\n2"),
    ("docker.io/a/b:1\nx", f"{_HUB}/a/b:1\nx"),
    ("nginx:t\u0435st", f"{_HUB}/library/nginx:t\u0435st"),
    ("a//b:1", f"{_HUB}/a//b:1"),
    ("a/../b:1", f"{_HUB}/a/../b:1"),
    ("a/b:1?x=y", f"{_HUB}/a/b:1?x=y"),
    ("a/B:1", f"{_HUB}/a/B:1"),
    ("auto fill", f"{_HUB}/library/auto fill"),
    (f"a/b@sha256:{'d' * 63}", f"{_HUB}/a/b@sha256:{'d' * 63}"),
    (f"a/b@md5:{'d' * 32}", f"{_HUB}/a/b@md5:{'d' * 32}"),
    (f"a/b:{'t' * 129}", f"{_HUB}/a/b:{'t' * 129}"),
    ("$(IMAGE)", f"{_HUB}/library/$(IMAGE)"),
]


async def test_other_rescues_are_refused(client, fenced, make_pod):
    """
    Another project, tag, digest, host or repository, and what is no reference, is no rescue.
    """
    path = await make_pod({"web": "placeholder"})

    for old, new in _NO_RESCUES:
        (await client.patch(path, _image(old))).expect()
        _assert_fenced(await _patch(fenced, path, _rescue(old, new)), "as the rules say")


_OLD, _NEW = "nginx:1", f"{_HUB}/library/nginx:1"


_HALF_RESCUES = {
    "neither record nor label": _image(_NEW),
    "no label": _rescue(_OLD, _NEW, labels={}),
    "no record": _rescue(_OLD, _NEW, annotations={}),
    "another label": _rescue(_OLD, _NEW, labels={_LABEL: "false"}),
    "wrong record": _rescue(_OLD, _NEW, annotations={_RECORD + "web": "evil"}),
    "a record too many": _rescue(
        _OLD, _NEW, annotations={_RECORD + "web": _OLD, _RECORD + "side": "x"}
    ),
    "an annotation less": _rescue(_OLD, _NEW, annotations={_RECORD + "web": _OLD, "note": None}),
    "a label less": _rescue(_OLD, _NEW, labels={_LABEL: "true", "app": None}),
    "a label more": _rescue(_OLD, _NEW, labels={_LABEL: "true", "x": "y"}),
    "record and label alone": {"metadata": _rescue(_OLD, _NEW)["metadata"]},
    "the label alone": {"metadata": {"labels": {_LABEL: "true"}}},
    "the record alone": {"metadata": {"annotations": {_RECORD + "web": _OLD}}},
    "labels wiped": [
        {"op": "replace", "path": "/metadata/labels", "value": {_LABEL: "true"}},
        {
            "op": "add",
            "path": f"/metadata/annotations/{_RECORD.replace('/', '~1')}web",
            "value": _OLD,
        },
        {"op": "replace", "path": "/spec/containers/0/image", "value": _NEW},
    ],
}


async def test_a_rescue_is_whole(fenced, make_pod):
    """
    Image, record and label come together, and nothing comes with them.
    """
    path = await make_pod({"web": _OLD, "side": "registry.example.com/side:1"})

    for patch in _HALF_RESCUES.values():
        _assert_fenced(await _patch(fenced, path, patch))
    assert (await _patch(fenced, path, _rescue(_OLD, _NEW))).status == 200


@pytest.mark.parametrize("mode", [None, "audit", "off", "Enforce"])
async def test_rescue_needs_a_namespace_that_opted_in(fenced, make_pod, make_namespace, mode):
    """
    Where the namespace does not carry `enforce`, Pods are not moved to Harbor; restores still pass.
    """
    path = await make_pod(
        {"web": _OLD, "side": f"{_HUB}/a/b:1"},
        namespace=await make_namespace(mode),
        labels={_LABEL: "true"},
        records={"side": "a/b:1"},
    )

    _assert_fenced(await _patch(fenced, path, _rescue(_OLD, _NEW)), "Pods that opted in")
    assert (await _patch(fenced, path, _image("a/b:1", "side"))).status == 200


async def test_rescue_leaves_pods_alone_that_opted_out(fenced, make_pod):
    """
    A Pod with the label `off` is not moved to Harbor; it is still restored.
    """
    path = await make_pod(
        {"web": _OLD, "side": f"{_HUB}/a/b:1"},
        labels={_LABEL: "true", "harbor-cache.io/mode": "off"},
        records={"side": "a/b:1"},
    )

    _assert_fenced(await _patch(fenced, path, _rescue(_OLD, _NEW)), "Pods that opted in")
    assert (await _patch(fenced, path, _image("a/b:1", "side"))).status == 200


async def test_rescue_leaves_excluded_namespaces_alone(client, fenced, make_pod, make_namespace):
    """
    What the webhook never sees, such as kube-system, is not moved to Harbor whatever its label says.
    """
    label = {"metadata": {"labels": {"harbor-cache.io/mode": "enforce"}}}
    (await client.patch("/api/v1/namespaces/kube-system", label)).expect()
    path = await make_pod({"web": _OLD}, namespace="kube-system")
    try:
        _assert_fenced(await _patch(fenced, path, _rescue(_OLD, _NEW)), "Pods that opted in")
    finally:
        await client.delete(path)
        label["metadata"]["labels"] = {"harbor-cache.io/mode": None}
        (await client.patch("/api/v1/namespaces/kube-system", label)).expect()


_RESTORES = [
    (_NEW, _OLD, _OLD),
    (f"{_HARBOR}/former/nginx:1", _OLD, _OLD),
    (f"{_NEW}@{_D}", _OLD, f"{_OLD}@{_D}"),
    (f"{_HUB}/library/nginx@{_D}", _OLD, f"nginx@{_D}"),
    (f"{_HUB}/library/nginx:latest@{_D}", "nginx", f"nginx@{_D}"),
    (f"{_HUB}/library/nginx@{_D}", f"nginx:1@{_D}", f"nginx:1@{_D}"),
    (f"{_HUB}/a/b@{_D}", "localhost:5000/b:1", f"localhost:5000/b@{_D}"),
]


async def test_restores_pass(client, fenced, make_pod):
    """
    An image becomes its record, or the record's name with the digest that a verifier put there.
    """
    path = await make_pod({"web": "placeholder"}, labels={_LABEL: "true"})

    for image, record, restored in _RESTORES:
        (await client.patch(path, _recorded(image, record))).expect()
        answer = await _patch(fenced, path, _image(restored))

        assert answer.status == 200, (image, answer.body)


_NO_RESTORES = [
    (_NEW, _OLD, "nginx:2"),
    (_NEW, _OLD, "nginx"),
    (_NEW, _OLD, "docker.io/nginx:1"),
    (_NEW, _OLD, f"{_OLD}@{_D}"),
    (f"{_NEW}@{_D}", _OLD, f"{_OLD}@{_E}"),
    (f"{_NEW}@{_D}", f"nginx:1@{_E}", f"nginx@{_D}"),
    (f"{_NEW}@{_D}", f"nginx:1@{_E}", f"nginx:1@{_E}@{_D}"),
    (f"{_HUB}/a/b@{_D}", "localhost:5000/b:1", f"localhost@{_D}"),
    (f"{_HUB}/a/b@{_D}", "a/b:1", f"a@{_D}"),
    (f"{_HUB}/a/b@{_D}", "a/b:1", f"@{_D}"),
    (f"{_HUB}/a/b@{_D}@{_E}", "a/b:1", f"a/b:1@{_E}"),
    (_NEW, "", "evil:1"),
]


async def test_other_restores_are_refused(client, fenced, make_pod):
    """
    Whatever is not the record, with the image's own digest at most, is no restore.
    """
    path = await make_pod({"web": "placeholder"}, labels={_LABEL: "true"})

    for image, record, restored in _NO_RESTORES:
        (await client.patch(path, _recorded(image, record))).expect()
        answer = await _patch(fenced, path, _image(restored))
        _assert_fenced(answer, "only to its recorded original")


async def test_a_record_counts_only_where_it_was_before(fenced, make_pod):
    """
    Neither a record of the same request nor that of another container leads back anywhere.
    """
    path = await make_pod(
        {"web": _NEW, "side": f"{_HUB}/a/b:1"}, records={"web": _OLD}, labels={_LABEL: "true"}
    )

    for patch in (
        {"metadata": {"annotations": {_RECORD + "web": "evil"}}, **_image("evil")},
        {"metadata": {"annotations": {_RECORD + "side": "evil"}}, **_image("evil", "side")},
        _image(_OLD, "side"),
    ):
        _assert_fenced(await _patch(fenced, path, patch))


async def test_a_pod_that_was_never_rewritten_is_not_restored(fenced, make_pod):
    """
    Records without our label are none of the controller's business.
    """
    path = await make_pod({"web": _NEW}, records={"web": _OLD})

    _assert_fenced(await _patch(fenced, path, _image(_OLD)), "recorded original")


async def test_both_moves_at_once_pass(fenced, make_pod):
    """
    One container is restored and others rescued, init containers too, in one request.
    """
    path = await make_pod(
        {"web": _NEW, "side": "quay.io/a/b:1"},
        initContainers=[{"name": "init", "image": "acme/init"}],
        records={"web": _OLD, "side": "an older one"},
        labels={_LABEL: "true"},
    )
    patch = {
        "metadata": {
            "annotations": {_RECORD + "side": "quay.io/a/b:1", _RECORD + "init": "acme/init"}
        },
        "spec": {
            "containers": [
                {"name": "web", "image": _OLD},
                {"name": "side", "image": f"{_HARBOR}/proxy.quay.io/a/b:1"},
            ],
            "initContainers": [{"name": "init", "image": f"{_HUB}/acme/init"}],
        },
    }
    answer = await _patch(fenced, path, patch)

    assert answer.status == 200, answer.body


async def test_who_owns_fields_stays_as_it_is(client, fenced, make_pod, make_namespace):
    """
    A move takes the fields that it changes, and no other; nor does it write in another's name.
    """
    namespace = await make_namespace("enforce")
    thing = _pod(namespace, {"web": _OLD}, {}, {})
    (await client.apply(thing)).expect()
    path = object_path(thing)
    await wait_for_fence(fenced, path, "The controller may not change labels")
    (await client.patch(path, {"metadata": {"labels": {"b": "c"}}}, fieldManager="other")).expect()
    mine = {"metadata": {"annotations": {_RECORD + "web": "theirs"}, "labels": {_LABEL: "no"}}}
    (await client.patch(path, mine, fieldManager="third")).expect()
    entries = (await client.get(path))["metadata"]["managedFields"]
    assert ["tests", "other", "third"] == [entry["manager"] for entry in entries]

    renamed, emptied, widened = (copy.deepcopy(entries) for _ in range(3))
    renamed[1]["manager"] = "evil"
    emptied[1]["fieldsV1"]["f:metadata"]["f:labels"].pop("f:b")
    widened[1]["fieldsV1"]["f:metadata"]["f:labels"]["f:app"] = {}
    forged = {
        "reset": [{}],
        "one less": entries[1:],
        "renamed": renamed,
        "a field less": emptied,
        "a field more": widened,
    }
    for name, changed in forged.items():
        patch = [{"op": "replace", "path": "/metadata/managedFields", "value": changed}]
        allowed = await _patch(client, path, patch)

        assert allowed.status == 200, allowed.body
        assert entries != allowed.body["metadata"].get("managedFields"), name
        _assert_fenced(await _patch(fenced, path, patch), "who owns fields")
    for manager in ("tests", "other", "new"):
        answer = await _patch(fenced, path, _rescue(_OLD, _NEW), fieldManager=manager)
        _assert_fenced(answer, "who owns fields")
    answer = await _patch(fenced, path, _rescue(_OLD, _NEW))

    assert answer.status == 200, answer.body
    # The third owned nothing but what the rescue took.
    managers = {entry["manager"] for entry in answer.body["metadata"]["managedFields"]}
    assert {"tests", "other", "harbor-cache"} == managers


async def test_many_owners_do_not_keep_a_pod_from_being_moved(client, fenced, make_pod):
    """
    Beyond ten the API server merges entries of owners by itself, which must not strand a Pod.
    """
    path = await make_pod({"web": _OLD})
    for index in range(12):
        patch = {"metadata": {"labels": {f"l{index}": "x"}}}
        (await client.patch(path, patch, fieldManager=f"manager-{index}")).expect()
        answer = await _patch(fenced, path, _rescue(_OLD, _NEW))

        assert answer.status == 200, (index, answer.body)


_RICH = {
    "initContainers": [{"name": "init", "image": "init:1"}],
    "tolerations": [
        {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}
    ],
    "activeDeadlineSeconds": 100,
    "nodeSelector": {"a": "b"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
                ]
            }
        }
    },
}
_GATED = {"schedulingGates": [{"name": "example.com/wait"}]}
_CHANGEABLE = {
    "/metadata/annotations",
    "/metadata/finalizers",
    "/metadata/generateName",
    "/metadata/labels",
    "/metadata/managedFields",
    "/metadata/ownerReferences",
    "/metadata/selfLink",
    "/spec/activeDeadlineSeconds",
    "/spec/containers",
    "/spec/initContainers",
    "/spec/tolerations",
}
_CHANGEABLE_WHILE_GATED = {"/spec/affinity", "/spec/nodeSelector", "/spec/schedulingGates"}


@pytest.mark.parametrize(
    ("more", "changeable"),
    [
        pytest.param({"nodeName": "node"}, _CHANGEABLE, id="on a node"),
        pytest.param(_GATED, _CHANGEABLE | _CHANGEABLE_WHILE_GATED, id="gated"),
    ],
)
async def test_no_field_can_be_changed(client, fenced, make_pod, more, changeable):
    """
    Of all changes that the API's own description allows and the API server takes, none passes.
    """
    fields = Fields(await client.get("/openapi/v3/api/v1"))
    path = await make_pod({"web": _OLD}, **_RICH, **more)
    before = await client.get(path)
    taken, passed = set(), []
    gate = asyncio.Semaphore(16)

    async def attempt(operation):
        async with gate:
            answer = await _patch(client, path, [operation])
            if not answer.ok or _is_same(before, answer.body):
                return
            taken.add("/".join(operation["path"].split("/")[:3]))
            answer = await _patch(fenced, path, [operation])
            if answer.status != 422 or "The controller may" not in answer.body["message"]:
                passed.append((operation, answer.status))

    operations = list(fields.changes(_POD_SCHEMA, before))
    await asyncio.gather(*(attempt(operation) for operation in operations))

    assert [] == passed
    assert changeable <= taken


def _is_same(before, after):
    """
    Tell whether nothing changed but what the API server writes in the requester's own name.
    """
    before, after = copy.deepcopy(before), copy.deepcopy(after)
    for thing in (before, after):
        for key in ("generation", "resourceVersion"):
            thing["metadata"].pop(key, None)
        thing["metadata"]["managedFields"] = [
            entry
            for entry in thing["metadata"].get("managedFields", ())
            if entry.get("manager") != "harbor-cache"
        ]
    return before == after


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "config.recovery.rescue=false"),
        ("--set", "config.recovery.enabled=false"),
    ],
)
async def test_without_rescue_the_fence_is_tighter(client, cluster, make_namespace, arguments):
    """
    Where the config says that nothing is moved to Harbor, nothing can be; restores still pass.
    """
    thing = _pod(
        await make_namespace("enforce"),
        {"web": _OLD, "side": f"{_HUB}/a/b:1"},
        {"side": "a/b:1"},
        {_LABEL: "true"},
    )
    async with installed(client, *arguments), controller(client, cluster) as fenced:
        (await client.create(thing)).expect()
        path = object_path(thing)
        # That of another test may still stand.
        await wait_for_fence(fenced, path, "may not move Pods", _rescue(_OLD, _NEW))

        assert (await _patch(fenced, path, _image("a/b:1", "side"))).status == 200


async def test_others_are_not_fenced(client, fenced, make_pod):
    """
    Everybody else may do what they might do before.
    """
    path = await make_pod({"web": _OLD})
    patch = {"metadata": {"labels": {"app": "other"}, "finalizers": ["example.com/x"]}}

    assert (await _patch(client, path, patch | _image("other:1"))).status == 200
