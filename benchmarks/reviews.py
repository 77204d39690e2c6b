"""
Reviews that differ as those of an API server do.

No two are alike: each has a uid, a Pod's name, an owner and a `kube-api-access-…` volume of its
own.  Pods of one shape share all the rest; those of different shapes differ in the tag of every
image.  A workload is a template with places for two numbers, so that whoever sends it makes any
number of reviews out of little.
"""

import json
import re

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


__all__ = ["NUMBER", "SHAPE", "SHAPES", "Workload", "template"]

NUMBER: Final = "000000099999"
"""
Where the number of a review stands in a template; of the same width as what is put there.
"""

SHAPE: Final = "0000077777"
"""
Where the number of a Pod's shape stands.
"""

_PLACES: Final = re.compile(f"({NUMBER}|{SHAPE})".encode())

SHAPES: Final = (1, 300, 10_000, 0)
"""
How many shapes the typical Pods have; 0 stands for as many as there are reviews.
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """
    What is sent: the file with the template, and how many shapes its Pods have.
    """

    file: Path
    shapes: int = 0

    def bodies(self, number: int = 0) -> Iterator[bytes]:
        """
        Yield reviews without end, the first of which has this *number*.
        """
        parts = _PLACES.split(self.file.read_bytes())
        while True:
            shape = number % self.shapes if self.shapes else number
            texts = {
                NUMBER.encode(): f"{number:0{len(NUMBER)}}".encode(),
                SHAPE.encode(): f"{shape:0{len(SHAPE)}}".encode(),
            }
            yield b"".join([texts.get(part, part) for part in parts])
            number += 1


def template(body: bytes) -> bytes:
    """
    Return the template of reviews like *body*, as it was recorded.
    """
    review = json.loads(body)
    request = review["request"]
    request["uid"] = f"705ab4f5-6393-11e8-b7cc-{NUMBER}"
    pod = request["object"]
    pod["metadata"]["name"] = f"shop-{NUMBER}"
    pod["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": f"shop-{NUMBER}",
            "uid": f"1a7a7a61-6393-11e8-b7cc-{NUMBER}",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    spec = pod["spec"]
    volumes = [v for v in spec.get("volumes", []) if not _is_token(v["name"])]
    spec["volumes"] = [*volumes, {"name": f"kube-api-access-{NUMBER}", **_TOKEN}]
    for container in (*spec["containers"], *spec.get("initContainers", [])):
        mounts = [m for m in container.get("volumeMounts", []) if not _is_token(m["name"])]
        mount = {"name": f"kube-api-access-{NUMBER}", "mountPath": _PATH, "readOnly": True}
        container["volumeMounts"] = [*mounts, mount]
        name, at, digest = container["image"].partition("@")
        container["image"] = f"{name}-{SHAPE}{at}{digest}"
    return json.dumps(review, separators=(",", ":")).encode()


_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN: Final[dict[str, Any]] = {
    "projected": {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {
                "configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }
            },
        ],
    }
}


def _is_token(name: str) -> bool:
    return name.startswith("kube-api-access-")
