"""
The product's own image, as `make image` really builds it, without a container engine.

It is buildah that builds it, on a base that debootstrap makes: `docker pull` needs an account for how often it
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
    "Makefile",
    "README.md",
    "certs",
    "deploy/build-image.sh",
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
        storage = Path(work) / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{work}/root"\nrunroot = "{work}/run"\n'
        )
        # `make image` takes the first of the engines that works.
        for engine in ("docker", "podman"):
            absent = Path(work) / "bin" / engine
            absent.parent.mkdir(exist_ok=True)
            absent.write_text("#!/bin/sh\nexit 1\n")
            absent.chmod(0o755)
        environment = {
            "BUILDAH_FORMAT": "oci",
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(storage),
            "PATH": f"{work}/bin:{os.environ['PATH']}",
            "PYTHON_IMAGE": "localhost/python:base",
        }

        def run(*command: str | Path) -> str:
            return _run(*command, **environment)

        container = run("buildah", "from", "scratch").strip()
        run("buildah", "copy", container, base, "/")
        if _AUTHORITIES.exists():
            run("buildah", "copy", container, _AUTHORITIES, str(_AUTHORITIES))
            for variable in ("SSL_CERT_FILE", "PIP_CERT"):
                run("buildah", "config", "--env", f"{variable}={_AUTHORITIES}", container)
        run("buildah", "commit", "--rm", container, environment["PYTHON_IMAGE"])
        run("make", "--directory", _ROOT, "image", f"IMAGE={name}")
        archive.unlink(missing_ok=True)
        run("buildah", "push", name, f"docker-archive:{archive}:{name}")


def _run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{end}")
    return done.stdout
