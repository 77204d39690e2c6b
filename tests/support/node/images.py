"""
Tiny images for Pods to pull: Debian's static busybox and nothing else, about 2 MB.
"""

import shutil
import subprocess
import tempfile

from functools import cache
from pathlib import Path


__all__ = ["push_image", "save_image"]

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
