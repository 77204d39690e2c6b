"""
Say what a real node needs and this machine lacks: `python -m tests.support.node.requirements`.
"""

import os
import shutil
import sys

from pathlib import Path
from typing import Final


__all__ = ["missing"]

# Program → the Debian package that brings it.
_PROGRAMS: Final = {
    "buildah": "buildah",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
_FILES: Final = {
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/lib/cni/host-local": "containernetworking-plugins",
    "/bin/busybox": "busybox-static",
}


def missing() -> list[str]:
    """
    Return a sentence for each thing that is missing.
    """
    lacks = [] if os.geteuid() == 0 else ["The tests with a real node need root."]
    packages = {
        package
        for program, package in _PROGRAMS.items()
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    } | {package for path, package in _FILES.items() if not Path(path).exists()}
    if packages:
        lacks.append(f"Debian packages are missing: apt-get install {' '.join(sorted(packages))}")
    return lacks


if __name__ == "__main__":
    sys.exit("\n".join(missing()) or 0)
