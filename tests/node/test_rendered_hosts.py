"""
containerd pulls through what `harbor-cache render containerd` writes.

Harbor is the stand-in over TLS, with a certificate of `harbor-cache render certs` that the machine
does not trust.  containerd runs in a mount namespace of its own, in which the rendered files lie
where nodes have them and no name leads off the machine.
"""

import ssl
import subprocess
import sys
import time

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.node.images import push_image
from tests.support.node.registry import Registry
from tests.support.node.requirements import missing
from webhook.demo.program import Program
from webhook.demo.standin import HarborStandIn, ThreadedStandIn


pytestmark = pytest.mark.node

_NAME: Final = "harbor.test"
_PROJECT: Final = "proxy.docker.io"
_IMAGE: Final = "library/web:1"
_HOSTS_DIRECTORY: Final = "/etc/containerd/certs.d"
_UPSTREAM: Final = "registry-1.docker.io"
_STARTED_WITHIN: Final = 60.0  # Seconds.  It takes less than one.

_CONFIG: Final = """\
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {{url: "{url}"}}
vm: {{front: self-signed, caFile: certs/ca.crt}}
"""

# The plugin that CRI is made of writes outside of its directories; `ctr` does without.
_CONTAINERD: Final = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{directory}/socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
"""

# Docker Hub's name leads to loopback as well, so that no pull that goes wrong leaves the machine.
_NAMESPACE: Final = """
set -e
mount -t tmpfs tmpfs /etc/containerd
mkdir /etc/containerd/certs.d
mount --bind "$1/containerd/certs.d" /etc/containerd/certs.d
mount --bind "$1/hosts" /etc/hosts
exec containerd --config "$1/containerd.toml"
"""

# A proxy that is set for the tests would be asked for Docker Hub.
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True, slots=True)
class Machine:
    """
    A containerd, and the Harbor that its rendered files are for.
    """

    directory: Path
    harbor: ThreadedStandIn
    containerd: Program

    @property
    def host(self) -> str:
        """
        Return Harbor as it stands in references.
        """
        return f"{_NAME}:{self.harbor.harbor.port}"

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """
        Run `ctr` where containerd runs.
        """
        return subprocess.run(
            [
                *("nsenter", f"--mount=/proc/{self.containerd.pid}/ns/mnt", "--"),
                *("ctr", "--address", str(self.directory / "socket"), *arguments),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=_ENVIRONMENT,
        )

    def pull(self, reference: str, *, rendered: bool = True) -> subprocess.CompletedProcess[str]:
        """
        Pull and unpack an image, by the rendered files or without them.
        """
        hosts = ("--hosts-dir", _HOSTS_DIRECTORY) if rendered else ()
        return self.ctr("images", "pull", "--snapshotter", "native", *hosts, reference)

    def images(self) -> list[str]:
        """
        Return the references of the images that containerd has.
        """
        return self.ctr("images", "list", "--quiet").stdout.split()

    def pulled(self) -> set[str]:
        """
        Return what Harbor served: the kind of thing, behind its repository.
        """
        prefix = f"/v2/{_PROJECT}/library/web/"
        return {
            seen.path.removeprefix(prefix).partition("/")[0]
            for seen in self.harbor.harbor.requests
            if seen.path.startswith(prefix) and seen.status == 200
        }


@pytest.fixture
def machine(tmp_path):
    if lacks := missing():
        pytest.fail("\n".join(lacks), pytrace=False)
    with Registry(tmp_path / "upstream") as upstream:
        push_image(upstream.host, _IMAGE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        harbor = HarborStandIn(tls=context, forward={_PROJECT: upstream.url})
        with ThreadedStandIn(harbor) as running:
            _render(tmp_path, f"https://{_NAME}:{harbor.port}")
            context.load_cert_chain(
                tmp_path / "certs" / "harbor.crt", tmp_path / "certs" / "harbor.key"
            )
            (tmp_path / "hosts").write_text(f"127.0.0.1 localhost {_NAME} {_UPSTREAM}\n")
            (tmp_path / "containerd.toml").write_text(_CONTAINERD.format(directory=tmp_path))
            containerd = Program(
                ["unshare", "--mount", "/bin/sh", "-c", _NAMESPACE, "containerd", tmp_path],
                log=tmp_path / "containerd.log",
                environment=_ENVIRONMENT,
            )
            with containerd:
                made = Machine(tmp_path, running, containerd)
                _wait(made)
                yield made


def test_containerd_trusts_harbor_by_the_rendered_file(machine):
    """
    What the webhook rewrites to is pulled with the rendered CA, and refused without it.
    """
    reference = f"{machine.host}/{_PROJECT}/{_IMAGE}"
    without = machine.pull(reference, rendered=False)
    images_without = machine.images()
    done = machine.pull(reference)

    assert without.returncode != 0
    assert "certificate signed by unknown authority" in without.stderr
    assert [] == images_without
    assert done.returncode == 0, done.stderr
    assert [reference] == machine.images()
    assert {"manifests", "blobs"} == machine.pulled()


def test_containerd_pulls_docker_hub_through_the_rendered_mirror(machine):
    """
    An image of Docker Hub keeps its name, and comes from Harbor's proxy project.
    """
    reference = f"docker.io/{_IMAGE}"
    done = machine.pull(reference)

    assert done.returncode == 0, done.stderr
    assert [reference] == machine.images()
    assert {"manifests", "blobs"} == machine.pulled()


def test_containerd_goes_to_docker_hub_where_harbor_is_down(machine):
    """
    The rendered mirror is never the only way: with Harbor down, Docker Hub itself is asked.
    """
    machine.harbor.stop()
    done = machine.pull(f"docker.io/{_IMAGE}")

    # It leads to loopback here, where nothing serves it.
    assert done.returncode != 0
    assert f"https://{_UPSTREAM}/v2/library/web/manifests/1" in done.stderr


def _render(directory: Path, url: str) -> None:
    (directory / "config.yaml").write_text(_CONFIG.format(url=url))
    for kind in ("certs", "containerd"):
        subprocess.run(
            [
                *(sys.executable, "-m", "webhook", "render", kind),
                *("--config", "config.yaml", "--out", kind),
            ],
            cwd=directory,
            check=True,
            capture_output=True,
        )


def _wait(machine: Machine) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN
    while not (machine.directory / "socket").exists() or machine.ctr("version").returncode != 0:
        machine.containerd.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"containerd does not answer.\n{machine.containerd.log_end()}")
        time.sleep(0.05)
