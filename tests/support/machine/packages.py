"""
An apt repository with packages that stand for Docker's, signed by a key of its own.
"""

import hashlib
import shutil
import subprocess

from email.utils import formatdate
from pathlib import Path
from typing import Final


__all__ = ["make_repository"]

_HERE: Final = Path(__file__).parent
# As Docker's own package does when it is installed.
_POSTINST: Final = """#!/bin/sh
set -e
getent group docker >/dev/null || groupadd --system docker
mkdir -p /var/lib/docker-played
touch /var/lib/docker-played/log
chmod 666 /var/lib/docker-played/log
"""
_UNIT: Final = """[Unit]
Description=Docker, played
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""


def make_repository(folder: Path, suite: str) -> None:
    """
    Write what `https://download.docker.com/linux/debian` is, as far as a playbook sees.
    """
    pool = folder / "pool"
    pool.mkdir(parents=True)
    entries = []
    for name in ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"):
        package = _make_package(folder / "work" / name, pool / f"{name}.deb", name)
        entries.append(
            f"{_control(name)}Filename: pool/{name}.deb\nSize: {len(package)}\n"
            f"SHA256: {hashlib.sha256(package).hexdigest()}\n"
        )
    binary = folder / "dists" / suite / "stable/binary-amd64"
    binary.mkdir(parents=True)
    index = "\n".join(entries).encode()
    (binary / "Packages").write_bytes(index)
    release = (
        f"Suite: {suite}\nCodename: {suite}\nComponents: stable\nArchitectures: amd64\n"
        f"Date: {formatdate(usegmt=True)}\nSHA256:\n"
        f" {hashlib.sha256(index).hexdigest()} {len(index)} stable/binary-amd64/Packages\n"
    )
    _sign(folder, folder / "dists" / suite / "InRelease", release)


def _control(name: str) -> str:
    return (
        f"Package: {name}\nVersion: 1.0\nArchitecture: amd64\nMaintainer: test <t@example.com>\n"
        f"Description: {name}, played\n"
    )


def _make_package(work: Path, archive: Path, name: str) -> bytes:
    (work / "DEBIAN").mkdir(parents=True)
    (work / "DEBIAN/control").write_text(_control(name))
    if name == "docker-ce":
        (work / "DEBIAN/postinst").write_text(_POSTINST)
        (work / "DEBIAN/postinst").chmod(0o755)
        (work / "lib/systemd/system").mkdir(parents=True)
        (work / "lib/systemd/system/docker.service").write_text(_UNIT)
        (work / "usr/bin").mkdir(parents=True)
        shutil.copy(_HERE / "docker", work / "usr/bin/docker")
        (work / "usr/bin/docker").chmod(0o755)
    _run("dpkg-deb", "--root-owner-group", "--build", work, archive)
    return archive.read_bytes()


def _sign(folder: Path, target: Path, text: str) -> None:
    home = folder / "work/gpg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--yes", "--passphrase", "")
    _run(*gpg, "--quick-generate-key", "Docker, played <t@example.com>", "rsa2048", "sign", "1d")
    source = folder / "work/Release"
    source.write_text(text)
    _run(*gpg, "--pinentry-mode", "loopback", "--output", target, "--clearsign", source)
    _run(*gpg, "--armor", "--output", folder / "gpg", "--export")
    # It would stay and hold the folder.
    _run("gpgconf", "--homedir", home, "--kill", "gpg-agent")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
