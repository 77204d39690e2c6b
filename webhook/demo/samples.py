"""
The Pods that the demo creates, and what should become of each image.
"""

from dataclasses import dataclass
from typing import Any, Final


__all__ = ["HARBOR", "SAMPLES", "Expected", "Sample", "debugged_pod", "pod"]

HARBOR: Final = "harbor-cache.example.com"
"""
Where the demo's config rewrites images to; its probes go to the stand-in.
"""

_DIGEST: Final = "sha256:" + "0123456789abcdef" * 4

Expected = tuple[str, str]
"""
What an image becomes, and why.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    A Pod with what should become of it.

    Attributes:
        name: its name.
        mode: the mode of the namespace that it is created in; empty for one that has not opted in.
        spec: its spec.
        expected: by container or volume name, what its image becomes and why.
        labels: its labels.
        update_of: the names of containers that were there before; set for an ephemeral one.
    """

    name: str
    mode: str
    spec: dict[str, Any]
    expected: dict[str, Expected]
    labels: dict[str, str] | None = None
    debugs: bool = False


def pod(name: str, spec: dict[str, Any], labels: dict[str, str] | None = None) -> dict[str, Any]:
    """
    Return a manifest.
    """
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _spec(**images: str) -> dict[str, Any]:
    return {"containers": [{"name": name, "image": image} for name, image in images.items()]}


def _cached(path: str) -> Expected:
    return f"{HARBOR}/{path}", "rule"


def debugged_pod(spec: dict[str, Any]) -> dict[str, Any]:
    """
    Return *spec* with one more ephemeral container, as `kubectl debug` adds it.
    """
    return {**spec, "ephemeralContainers": [{"name": "debugger", "image": "busybox:1.36"}]}


SAMPLES: Final = (
    Sample(
        "shop",
        "enforce",
        {
            "initContainers": [{"name": "migrate", "image": "gcr.io/acme/migrate:7"}],
            **_spec(web="nginx", agent=f"quay.io/acme/agent@{_DIGEST}"),
        },
        {
            "migrate": _cached("proxy.gcr.io/acme/migrate:7"),
            "web": _cached("proxy.docker.io/library/nginx"),
            "agent": _cached(f"proxy.quay.io/acme/agent@{_DIGEST}"),
        },
    ),
    Sample(
        "old-and-own",
        "enforce",
        _spec(pause="k8s.gcr.io/pause:3.9", own="registry.corp.example:5000/team/app:1"),
        {
            "pause": _cached("proxy.k8s.gcr.io/pause:3.9"),
            "own": ("registry.corp.example:5000/team/app:1", "no-rule"),
        },
    ),
    Sample(
        "model",
        "enforce",
        {
            **_spec(serve=f"{HARBOR}/proxy.docker.io/library/redis:7"),
            "volumes": [{"name": "weights", "image": {"reference": "quay.io/acme/weights:2"}}],
        },
        {
            "serve": (f"{HARBOR}/proxy.docker.io/library/redis:7", "already-cached"),
            "weights": _cached("proxy.quay.io/acme/weights:2"),
        },
    ),
    Sample(
        "preloaded",
        "enforce",
        {"containers": [{"name": "app", "image": "acme/app:1", "imagePullPolicy": "Never"}]},
        {"app": ("acme/app:1", "pull-policy-never")},
    ),
    Sample(
        "shop, kubectl debug",
        "enforce",
        _spec(web="nginx"),
        {"debugger": _cached("proxy.docker.io/library/busybox:1.36")},
        debugs=True,
    ),
    Sample(
        "opted-out",
        "enforce",
        _spec(web="nginx"),
        {"web": ("nginx", "opted-out")},
        labels={"harbor-cache.io/mode": "off"},
    ),
    Sample("audited", "audit", _spec(web="nginx"), {"web": ("nginx", "would-rewrite")}),
    Sample("elsewhere", "", _spec(web="nginx"), {"web": ("nginx", "no label")}),
)
