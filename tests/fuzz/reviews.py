"""
AdmissionReviews that an API server sends, and what is left of them after some damage.
"""

import json

from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.support.references import generate


__all__ = ["Message", "damaged"]

_NAMES: Final = (
    "app",
    "a",
    "a-b",
    "0",
    "x" * 63,
    "x" * 64,
    "A",
    "a/b",
    "a~1b",
    "~",
    "",
    "a.b",
    "é",
)
_KEYS: Final = (
    *(
        "metadata",
        "spec",
        "containers",
        "initContainers",
        "ephemeralContainers",
        "volumes",
        "image",
    ),
    *("reference", "labels", "annotations", "name", "imagePullSecrets", "imagePullPolicy", "uid"),
    *(
        "object",
        "oldObject",
        "operation",
        "ownerReferences",
        "apiVersion",
        "status",
        "~1",
        "a/b",
        "",
    ),
    *("original.harbor-cache.io/app", "harbor-cache.io/rewritten", "harbor-cache.io/mode"),
    *("kubernetes.io/config.mirror", "__class__", "тест", "\ud800", "\0"),
)
_VALUES: Final = (
    *(None, True, False, 0, -1, 5, 1.5, 1e308, 10**30, "", "off", "true", "Never", "nginx", "\0"),
    *("\x1b[31mred\x1b[0m", "a\nb", "<script>&", "\\u003c", "\ud800", "\U0001f433", "x" * 5000),
    *([], {}, [None], [[]], [{}], {"": {}}, [1, "a"], {"name": "app"}, [{"name": 1}]),
)
_OPERATIONS: Final = ("CREATE", "UPDATE", "DELETE", "CONNECT", "create", "")
_HEADERS: Final = (
    *([{}] * 40),
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "text/plain"},
    {"Content-Type": ";;;"},
    {"Content-Encoding": "gzip"},
    {"Content-Encoding": "identity"},
    {"Expect": "100-continue"},
    {"Accept-Encoding": "gzip"},
)


@dataclass
class Message:
    """
    A request to the webhook.

    Attributes:
        path: where it goes.
        body: what it holds.
        headers: what differs from the headers that the API server sends.
    """

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def damaged(random: Random) -> Message:
    """
    Return a request whose images are made up, and which is damaged in up to four places.
    """
    review = _review(random)
    for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
        _damage_tree(review, random)
    body = json.dumps(review, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        body = body.replace(b"<", rb"\u003c").replace(b"&", rb"\u0026")
    if random.random() < 0.1:
        body = _damage_bytes(body, random)
    path = random.choice(("/mutate", "/mutate", "/mutate", "/audit", "/mutate?timeout=2s"))
    return Message(path, body, dict(random.choice(_HEADERS)))


def _review(random: Random) -> dict[str, Any]:
    pod = _pod(random)
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": pod,
        "oldObject": None,
        "dryRun": random.random() < 0.1,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    if random.random() < 0.2:
        request["operation"] = random.choice(_OPERATIONS)
        request["subResource"] = random.choice(("ephemeralcontainers", "status", "", None))
        old = deepcopy(pod)
        old["spec"].pop("ephemeralContainers", None)
        request["oldObject"] = random.choice((old, deepcopy(pod)))
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def _pod(random: Random) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "web-5d4f", "namespace": "shop"}
    if random.random() < 0.7:
        metadata["labels"] = _texts(random, {"app": "web"})
    if random.random() < 0.6:
        metadata["annotations"] = _texts(random, {"checksum/config": "e3b0c442"})
    if random.random() < 0.3:
        owner = random.choice(("apps/v1", "postgresql.cnpg.io/v1", "batch/v1"))
        metadata["ownerReferences"] = [{"apiVersion": owner, "kind": "ReplicaSet", "name": "web"}]
    spec: dict[str, Any] = {"containers": _containers(random), "restartPolicy": "Always"}
    for place in ("initContainers", "ephemeralContainers"):
        if random.random() < 0.4:
            spec[place] = _containers(random)
    if random.random() < 0.4:
        spec["volumes"] = [
            {"name": "kube-api-access", "projected": {"sources": []}},
            {"name": "model", "image": {"reference": _image(random), "pullPolicy": "Always"}},
        ]
    if random.random() < 0.4:
        spec["imagePullSecrets"] = [{"name": random.choice(("mine", "harbor-pull"))}]
    spec["fieldOfTheFuture"] = {"nested": [1, {"deeper": None}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {}}


def _containers(random: Random) -> list[dict[str, Any]]:
    return [
        {
            "name": random.choice(_NAMES) if random.random() < 0.3 else f"c{index}",
            "image": _image(random),
            "imagePullPolicy": random.choice(("Always", "IfNotPresent", "IfNotPresent", "Never")),
            "env": [{"name": "A", "value": "<b>&"}],
            "resources": {"limits": {"cpu": "1"}},
        }
        for index in range(random.choice((1, 1, 2, 3, 12)))
    ]


def _image(random: Random) -> str:
    if random.random() < 0.5:
        return random.choice(
            ("nginx:1", "quay.io/a/b", "registry-1.docker.io/redis", "gcr.io/a/b:1")
        )
    return generate(random)


def _texts(random: Random, texts: dict[str, str]) -> dict[str, str]:
    if random.random() < 0.3:
        texts[random.choice(_KEYS)] = random.choice(("true", "off", "nginx:1", "x" * 1000))
    if random.random() < 0.02:
        texts["large"] = "x" * random.choice((262_000, 262_144, 300_000))
    return texts


def _damage_tree(root: dict[str, Any], random: Random) -> None:
    """
    Change one thing somewhere in a JSON document.
    """
    node: Any = root
    while True:
        children = [value for value in _values(node) if isinstance(value, dict | list) and value]
        if not children or random.random() < 0.15:
            break
        node = random.choice(children)
    kind = random.randrange(6)
    if isinstance(node, list):
        index = random.randrange(len(node) + 1)
        if kind == 0 and node:
            node.pop(index % len(node))
        elif kind == 1 and node:
            node.append(deepcopy(node[index % len(node)]))
        elif kind == 2 and node:
            node[index % len(node)] = deepcopy(random.choice(_VALUES))
        else:
            node.insert(index, deepcopy(random.choice(_VALUES)))
        return
    key = random.choice(list(node) or [""])
    if kind == 0:
        node.pop(key, None)
    elif kind == 1:
        node[random.choice(_KEYS)] = node.pop(key, None)
    elif kind == 2:
        node[random.choice(_KEYS)] = deepcopy(random.choice(_VALUES))
    elif kind == 3 and random.random() < 0.1:
        node[key] = _nested(random.choice((50, 150)))
    else:
        node[key] = deepcopy(random.choice(_VALUES))


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _values(node: Any) -> list[Any]:
    return list(node.values() if isinstance(node, dict) else node)


def _damage_bytes(body: bytes, random: Random) -> bytes:
    start = random.randrange(len(body) + 1)
    end = min(len(body), start + random.choice((0, 1, 1, 4, 40)))
    kind = random.randrange(6)
    if kind == 0:
        return body[:start]
    if kind == 1:
        return body[:start] + random.randbytes(random.choice((1, 2, 9))) + body[end:]
    if kind == 2:
        return body[:start] + body[end:]
    if kind == 3:
        return body.replace(b'"image":', b'"image": "gcr.io/first", "image":')
    if kind == 4:
        return body + random.choice((b"\n", b" ", b"{}", b"\0", body))
    hole = body.replace(b"true", b"[" * 3000 + b"]" * 3000)
    return random.choice(
        (hole, b"", b"null", b"[]", b"{}", b'"', b"[" * 100_000, b'{"a":' * 50_000)
    )
