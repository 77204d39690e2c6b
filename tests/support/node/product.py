"""
The product's own image, really built from the Dockerfile, without a container engine.

buildah builds it on a base that debootstrap makes: `docker pull` needs an account for how often it
is done, Debian's mirrors don't.  The base and the last image are cached outside of the checkout.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile

from pathlib import Path
from typing import Final

from tests.support.golang import locked
from webhook.demo.cluster import cache_directory


__all__ = ["IMAGE", "built_image"]

IMAGE: Final = "ghcr.io/harbor-cache-webhook/harbor-cache-webhook"
_ROOT: Final = Path(__file__).parents[3]
_CACHE: Final = cache_directory().parents[2] / "image"
_SUITE: Final = "bookworm"
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_INPUTS: Final = (
    ".dockerignore",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "certs",
    "pyproject.toml",
    "uv.lock",
    "webhook",
)
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


def built_image(tag: str) -> Path:
    """
    Return an archive of the image of this source tree, as `ctr images import` takes it.

    It is built only if the sources differ from those of the last one.
    """
    _CACHE.mkdir(parents=True, exist_ok=True)
    with locked(_CACHE / ".lock"):
        archive = _CACHE / f"{_fingerprint()}-{tag}.tar"
        if not archive.exists():
            for outdated in _CACHE.glob("*.tar"):
                outdated.unlink()
            partial = archive.with_suffix(".partial")
            _build(_base(), partial, f"{IMAGE}:{tag}")
            partial.rename(archive)
        return archive


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in _INPUTS:
        path = _ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(_ROOT)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _base() -> Path:
    """
    Return a directory with Debian and Python, made once.
    """
    base = _CACHE / f"{_SUITE}-base"
    if not base.exists():
        partial = base.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, partial)
        # A container needs neither; they would be a third of it.
        for useless in ("var/cache/apt/archives", "var/lib/apt/lists"):
            for file in (partial / useless).glob("*"):
                file.unlink() if file.is_file() else shutil.rmtree(file)
        partial.rename(base)
    return base


def _build(base: Path, archive: Path, name: str) -> None:
    """
    Build with nothing of buildah's left behind; the machine's own authorities are trusted.
    """
    with tempfile.TemporaryDirectory(prefix="buildah-") as work:
        buildah = (
            *("buildah", "--storage-driver", "vfs"),
            *("--root", f"{work}/root", "--runroot", f"{work}/run"),
        )
        container = _run(*buildah, "from", "scratch").strip()
        _run(*buildah, "copy", container, base, "/")
        if _AUTHORITIES.exists():
            _run(*buildah, "copy", container, _AUTHORITIES, str(_AUTHORITIES))
            for variable in ("SSL_CERT_FILE", "PIP_CERT"):
                _run(*buildah, "config", "--env", f"{variable}={_AUTHORITIES}", container)
        _run(*buildah, "commit", "--rm", container, "localhost/python:base")
        _run(
            *(*buildah, "bud", "--isolation", "chroot", "--pull-never", "--tag", name),
            *("--build-arg", "PYTHON_IMAGE=localhost/python:base", _ROOT),
        )
        archive.unlink(missing_ok=True)
        _run(*buildah, "push", name, f"docker-archive:{archive}:{name}")


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BUILDAH_FORMAT": "oci"},
    )
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{end}")
    return done.stdout
