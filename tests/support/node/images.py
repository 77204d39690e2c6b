"""
Tiny images for Pods to pull: Debian's static busybox and nothing else, about 2 MB.
"""

import gzip
import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any


__all__ = ["push_image", "push_images", "push_odd_image", "save_image"]

_BASE = "library/base"
_APPLETS = ("sh", "sleep", "echo", "true", "false", "cat")


@cache
def _layout() -> Path:
    """
    Return an OCI layout with one image, which sleeps; made once per process.
    """
    keep = tempfile.TemporaryDirectory(prefix="image-")
    _kept.append(keep)  # Removed when the process ends.
    work = Path(keep.name)
    layout, bundle = work / "layout", work / "bundle"
    image = f"{layout}:1"
    _run("umoci", "init", "--layout", layout)
    _run("umoci", "new", "--image", image)
    _run("umoci", "unpack", "--rootless", "--image", image, bundle)
    programs = bundle / "rootfs" / "bin"
    programs.mkdir()
    shutil.copy("/bin/busybox", programs / "busybox")
    for applet in _APPLETS:
        (programs / applet).symlink_to("busybox")
    _run("umoci", "repack", "--image", image, bundle)
    _run("umoci", "config", "--image", image, "--config.entrypoint", "/bin/sleep")
    _run("umoci", "config", "--image", image, "--config.cmd", "1000000")
    return layout


_kept: list[tempfile.TemporaryDirectory] = []


def push_image(registry: str, name: str) -> None:
    """
    Push the image as `name` (`library/web:1`) to a registry (`127.0.0.1:5000`) over HTTP.

    All names share their layers, but each has a digest of its own.
    """
    with tempfile.TemporaryDirectory(prefix="image-") as work:
        layout = Path(work) / "layout"
        shutil.copytree(_layout(), layout)
        _run("umoci", "config", "--image", f"{layout}:1", "--config.label", f"name={name}")
        _run(
            *("skopeo", "copy", "--quiet", "--dest-tls-verify=false"),
            *(f"oci:{layout}:1", f"docker://{registry}/{name}"),
        )


def push_images(registry: str, repositories: Sequence[str], tag: str = "1") -> None:
    """
    Push an image to each of *repositories* (`library/web`), as `push_image` does but quickly.

    They differ in one label, so in their digest; the layers are pushed once.
    """
    push_image(registry, f"{_BASE}:{tag}")
    base = _ask(registry, f"/v2/{_BASE}/manifests/{tag}")
    manifest = json.loads(base)
    config = json.loads(_ask(registry, f"/v2/{_BASE}/blobs/{manifest['config']['digest']}"))
    for name in repositories:
        config["config"]["Labels"] = {"name": name}
        blob = json.dumps(config).encode()
        for layer in manifest["layers"]:
            mount = f"/v2/{name}/blobs/uploads/?mount={layer['digest']}&from={_BASE}"
            _ask(registry, mount, method="POST")
        manifest["config"] = _blob(registry, name, blob, manifest["config"]["mediaType"])
        kind = manifest.get("mediaType") or "application/vnd.oci.image.manifest.v1+json"
        body = json.dumps(manifest).encode()
        _ask(registry, f"/v2/{name}/manifests/{tag}", method="PUT", body=body, kind=kind)


def push_odd_image(registry: str, name: str, *, architecture: str = "", size: int = 0) -> None:
    """
    Push an image that starts nowhere: for one *architecture* alone, or with *size* random bytes.
    """
    repository, _, tag = name.rpartition(":")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        entry = tarfile.TarInfo("filling")
        entry.size = size
        archive.addfile(entry, io.BytesIO(random.randbytes(size)))
    layer = content.getvalue()
    config = {
        "architecture": architecture or "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [_digest(gzip.decompress(layer))]},
    }
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": _blob(
            registry,
            repository,
            json.dumps(config).encode(),
            "application/vnd.oci.image.config.v1+json",
        ),
        "layers": [
            _blob(registry, repository, layer, "application/vnd.oci.image.layer.v1.tar+gzip")
        ],
    }
    body = json.dumps(manifest).encode()
    if architecture:
        _ask(
            registry,
            f"/v2/{repository}/manifests/{_digest(body)}",
            method="PUT",
            body=body,
            kind=kind,
        )
        platform = {"architecture": architecture, "os": "linux"}
        part = {"mediaType": kind, "digest": _digest(body), "size": len(body)}
        kind = "application/vnd.oci.image.index.v1+json"
        index = {
            "schemaVersion": 2,
            "mediaType": kind,
            "manifests": [{**part, "platform": platform}],
        }
        body = json.dumps(index).encode()
    _ask(registry, f"/v2/{repository}/manifests/{tag}", method="PUT", body=body, kind=kind)


def _blob(registry: str, repository: str, data: bytes, kind: str) -> dict[str, Any]:
    """
    Push a blob; return what a manifest says of it.
    """
    place = _ask(registry, f"/v2/{repository}/blobs/uploads/", method="POST", location=True)
    _ask(registry, f"{place}&digest={_digest(data)}", method="PUT", body=data)
    return {"mediaType": kind, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _ask(
    registry: str,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    kind: str = "application/octet-stream",
    location: bool = False,
) -> str:
    url = path if path.startswith("http") else f"http://{registry}{path}"
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json", "Content-Type": kind}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Location"] if location else answer.read().decode()


def save_image(path: Path, name: str) -> Path:
    """
    Write the image to an archive that `ctr images import` takes; return its path.
    """
    path.unlink(missing_ok=True)
    _run("skopeo", "copy", "--quiet", f"oci:{_layout()}:1", f"docker-archive:{path}:{name}")
    return path


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
