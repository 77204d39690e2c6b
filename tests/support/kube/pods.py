"""
Valid Pods in wide variety, the same ones for the same seed.
"""

import random

from collections.abc import Iterator
from typing import Any


__all__ = ["generated_pods"]

_HOSTS = [
    *("", "", "", "docker.io/", "index.docker.io/", "registry-1.docker.io/", "gcr.io/"),
    *("k8s.gcr.io/", "quay.io/", "ghcr.io/", "registry.example.com:5000/", "localhost/"),
    *("localhost:5000/", "[::1]:5000/", "Docker.IO/", "docker.io:443/", "docker.io.evil.example/"),
]
_PATHS = [
    *("nginx", "library/nginx", "a/b", "a/b/c/d", "under_score/dash-ed", "dock__er/x---y"),
    *("x" * 200, "/".join(["deep"] * 40)),
]
_ENDS = [
    *("", "", ":1", ":latest", ":v1.2.3-rc.1_x", f"@sha256:{'0a' * 32}"),
    *(f":1@sha256:{'0b' * 32}", f"@sha512:{'0c' * 64}"),
]
# The API server takes any string without white space around it.
_ODD = [
    *(
        "HTTP://UPPER/Case::x@@",
        "nginx:",
        "@",
        ":tag",
        "a//b",
        "--flag",
        "$(IMAGE)",
        "nginx latest",
    ),
    *(
        "nginx:\u0442\u0435\u0441\u0442",
        "nginx:\uff11\uff12",
        "a\nb",
        "\x1b[31mred",
        "nginx\u202eevil",
        "é" * 1500,
    ),
    *("0a" * 32, f"sha256:{'0a' * 32}", "http://169.254.169.254/latest"),
]


def generated_pods(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """
    Yield `count` Pods without a namespace.
    """
    draw = random.Random(seed)
    for number in range(count):
        yield _pod(draw, number)


def _pod(draw: random.Random, number: int) -> dict[str, Any]:
    names = [f"c{index}" for index in range(draw.choice([1, 1, 1, 2, 3, 12]))]
    volumes = _volumes(draw)
    containers = [_container(draw, name, volumes) for name in names]
    spec: dict[str, Any] = {"containers": containers}
    if draw.random() < 0.4:
        spec["initContainers"] = [
            _init_container(draw, f"i{index}", volumes) for index in range(draw.randint(1, 3))
        ]
    if volumes:
        spec["volumes"] = volumes
    for key, values in _SPEC.items():
        if draw.random() < 0.15:
            spec[key] = draw.choice(values)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(draw, number), "spec": spec}
    if draw.random() < 0.1:
        # A key that no version of the API knows is dropped by the API server.
        spec["fieldOfTheFuture"] = {"image": "nginx"}
    return pod


def _metadata(draw: random.Random, number: int) -> dict[str, Any]:
    name = {"generateName": "pod-"} if draw.random() < 0.3 else {"name": f"pod-{number}"}
    metadata: dict[str, Any] = dict(name)
    if draw.random() < 0.6:
        metadata["labels"] = draw.choice(
            [
                {},
                {"app": "x", "app.kubernetes.io/name": "x"},
                {"harbor-cache.io/rewritten": "true"},
                {"harbor-cache.io/mode": "off"},
                {"harbor-cache.io/mode": "enforce", "long": "l" * 63},
            ]
        )
    if draw.random() < 0.6:
        metadata["annotations"] = draw.choice(
            [
                {},
                {"note": 'quotes " and \\ and ~ / ~1 <&> ☃'},
                {"original.harbor-cache.io/c0": "evil/x", "original.harbor-cache.io/gone": "y"},
                {f"many.example/{index}": "v" for index in range(100)},
            ]
        )
    if draw.random() < 0.01:
        # Just under what all annotations together may have, or with no room left at all.
        metadata["annotations"] = {"big": "b" * draw.choice([261_000, 262_144 - len("big")])}
    if draw.random() < 0.1:
        metadata["ownerReferences"] = [
            {
                "apiVersion": draw.choice(["apps/v1", "postgresql.cnpg.io/v1"]),
                "kind": "Owner",
                "name": "owner",
                "uid": "8a0f5a9c-0000-4000-8000-000000000000",
                "controller": True,
            }
        ]
    if draw.random() < 0.1:
        metadata["finalizers"] = ["example.com/finalizer"]
    return metadata


def _image(draw: random.Random) -> str:
    if draw.random() < 0.05:
        return draw.choice(_ODD)
    if draw.random() < 0.001:
        return "x" * 70_000
    return draw.choice(_HOSTS) + draw.choice(_PATHS) + draw.choice(_ENDS)


def _container(draw: random.Random, name: str, volumes: list[dict[str, Any]]) -> dict[str, Any]:
    container: dict[str, Any] = {"name": name, "image": _image(draw)}
    for key, values in _CONTAINER.items():
        if draw.random() < 0.15:
            container[key] = draw.choice(values)
    if volumes and draw.random() < 0.6:
        mounted = draw.choice(volumes)["name"]
        container["volumeMounts"] = [{"name": mounted, "mountPath": f"/mnt/{mounted}"}]
    return container


def _init_container(
    draw: random.Random, name: str, volumes: list[dict[str, Any]]
) -> dict[str, Any]:
    container = _container(draw, name, volumes)
    if draw.random() < 0.4:
        container["restartPolicy"] = "Always"
    else:
        for key in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            container.pop(key, None)
    return container


def _volumes(draw: random.Random) -> list[dict[str, Any]]:
    volumes = []
    for index, source in enumerate(draw.sample(_VOLUMES, draw.choice([0, 0, 1, 2, 3]))):
        volumes.append({"name": f"v{index}", **source})
    if draw.random() < 0.1:
        volumes.append({"name": "image", "image": {"reference": _image(draw)}})
    return volumes


_PROBES = [
    {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5},
    {"exec": {"command": ["true"]}},
    {"tcpSocket": {"port": 80}},
    {"grpc": {"port": 90}},
]
_CONTAINER: dict[str, list[Any]] = {
    "imagePullPolicy": ["Always", "IfNotPresent", "Never"],
    "command": [["sh", "-c", "echo '☃' \"$(X)\""]],
    "args": [["a" * 500], ["--x=1", ""]],
    "workingDir": ["/work"],
    "env": [
        [{"name": "A", "value": "$(B)"}, {"name": "B"}],
        [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    ],
    "envFrom": [[{"configMapRef": {"name": "c", "optional": True}}]],
    "ports": [[{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]],
    "resources": [
        {"requests": {"cpu": "0.1", "memory": "1Gi"}, "limits": {"memory": "2e9"}},
        {"limits": {"cpu": "1500m", "example.com/device": "1"}},
    ],
    "livenessProbe": _PROBES,
    "readinessProbe": _PROBES,
    "startupProbe": _PROBES,
    "lifecycle": [
        {"preStop": {"httpGet": {"port": 80}}},
        {"postStart": {"exec": {"command": ["x"]}}},
    ],
    "securityContext": [
        {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}, "privileged": False},
        {"seccompProfile": {"type": "RuntimeDefault"}, "readOnlyRootFilesystem": True},
    ],
    "terminationMessagePolicy": ["FallbackToLogsOnError"],
    "stdin": [True],
    "tty": [True],
}
_VOLUMES: list[dict[str, Any]] = [
    {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
    {"secret": {"secretName": "s", "defaultMode": 0o400}},
    {"hostPath": {"path": "/tmp", "type": "Directory"}},
    {"projected": {"sources": [{"configMap": {"name": "c"}}]}},
    {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {"persistentVolumeClaim": {"claimName": "p"}},
    {"csi": {"driver": "csi.example.com", "readOnly": True}},
    {"nfs": {"server": "nfs.example.com", "path": "/"}},
    {
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                }
            }
        }
    },
]
_TERM = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
_SPEC: dict[str, list[Any]] = {
    "restartPolicy": ["Always", "OnFailure", "Never"],
    "nodeSelector": [{"kubernetes.io/os": "linux"}],
    "hostNetwork": [False],
    "shareProcessNamespace": [True],
    "automountServiceAccountToken": [False],
    "serviceAccountName": ["builder"],
    "imagePullSecrets": [[{"name": "one"}, {"name": "two"}], []],
    "hostAliases": [[{"ip": "10.0.0.1", "hostnames": ["docker.io"]}]],
    "dnsPolicy": ["Default", "ClusterFirst"],
    "dnsConfig": [{"searches": ["example.com"], "options": [{"name": "ndots", "value": "2"}]}],
    "tolerations": [[{"operator": "Exists"}], [{"key": "k", "operator": "Exists"}]],
    "affinity": [
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_TERM]}
            }
        },
        {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "topologyKey": "zone",
                            "labelSelector": {"matchLabels": {"app": "x"}},
                        },
                    }
                ]
            }
        },
    ],
    "topologySpreadConstraints": [
        [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]
    ],
    "securityContext": [{"runAsUser": 65532, "fsGroup": 1, "sysctls": []}],
    "activeDeadlineSeconds": [3600],
    "terminationGracePeriodSeconds": [0, 3600],
    "schedulerName": ["mine"],
    "schedulingGates": [[{"name": "example.com/gate"}]],
    "readinessGates": [[{"conditionType": "example.com/ready"}]],
    "enableServiceLinks": [False],
    "subdomain": ["sub"],
    "hostname": ["host"],
}
