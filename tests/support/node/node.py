"""
A real node: controller manager, scheduler, containerd and kubelet beside a `Cluster`.

containerd, the kubelet and all containers live in a process and a mount namespace of their own, so
that nothing of them, no process and no mount, is left when the namespace's first process ends.
What the kubelet changes outside of it (sysctls, cgroups, a bridge) is put back by `stop`.
"""

import contextlib
import ipaddress
import json
import random
import secrets
import subprocess
import time
import urllib.error
import urllib.request

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.support.node.images import save_image
from webhook.demo.cluster import Cluster, free_port
from webhook.demo.program import Program


__all__ = ["Node"]

_READY_WITHIN: Final = 60.0  # Seconds.  It takes 5.
_CGROUPS: Final = Path("/sys/fs/cgroup")

# The kubelet insists on its own values of the first five, the bridge plugin on the last one.
_SYSCTLS: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
)

# What containerd and the kubelet write outside of the directories that they are given.
_NAMESPACE: Final = """
set -e
mkdir -p /var/lib/cni /var/lib/kubelet /var/log/containers /opt/containerd 2>/dev/null || true
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
for d in /var/lib/cni /var/lib/kubelet /var/log/containers; do mount -t tmpfs tmpfs $d; done
if [ -n "$2" ]; then mkdir -p "$1" && mount -t tmpfs -o size="$2" tmpfs "$1"; fi
echo ready
exec sleep infinity
"""


class Node:
    """
    One node named `name`, in a cluster that has the ServiceAccount admission plugin on.

    `registries` maps hosts, as they stand in references, to the URL that containerd asks instead
    (`hosts.toml`); no other registry is ever asked, so nothing leaves the machine.  Pods reach
    their node's bridge and, by way of it, the networks in `routes`.  `kubelet_options` go to the
    kubelet as they are.  `disk` is the size of what containerd writes to, such as ``24m``; without
    it that is the machine's own.  Everything written is below `directory`, whose path must be
    short: sockets are in it.
    """

    def __init__(
        self,
        cluster: Cluster,
        directory: Path,
        registries: dict[str, str],
        name: str = "node-1",
        *,
        snapshotter: str = "native",
        routes: Sequence[str] = (),
        kubelet_options: Sequence[str] = (),
        disk: str = "",
    ) -> None:
        self._kubelet_options = kubelet_options
        self._routes = routes
        self._snapshotter = snapshotter
        self.cluster = cluster
        self.directory = directory
        self.name = name
        self._registries = registries
        self._socket = directory / "containerd.sock"
        # The names of its cgroup and of its network device, which the whole machine shares.
        self.unit = self.bridge = f"hcw{secrets.token_hex(4)}"
        self._sysctls: dict[str, str] = {}
        self._kubeconfig = cluster.kubeconfig()
        self._namespace = self._program(
            "namespace",
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("/bin/sh", "-c", _NAMESPACE, "sh", directory / "containerd", disk),
        )
        self._controller_manager = self._program(
            "kube-controller-manager",
            cluster.binaries / "kube-controller-manager",
            f"--kubeconfig={self._kubeconfig}",
            f"--service-account-private-key-file={cluster.service_account_key}",
            f"--root-ca-file={cluster.ca_file}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--secure-port=0",
        )
        self._scheduler = self._program(
            "kube-scheduler",
            cluster.binaries / "kube-scheduler",
            f"--kubeconfig={self._kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        self._containerd: Program | None = None
        self._kubelet: Program | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """
        Start it, put the sandbox image on it, and return when the node is Ready.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._sysctls = {name: _sysctl(name).read_text() for name in _SYSCTLS}
        self._make_cgroups()
        self._write_files()
        self._namespace.start()
        _wait("the node's namespace", lambda: "ready" in self._namespace.log_end())
        self._controller_manager.start()
        self._scheduler.start()
        self._containerd = self._inside(
            "containerd", "containerd", "--config", self.directory / "containerd.toml"
        )
        _wait("containerd", self._containerd_answers)
        sandbox = save_image(self.directory / "pause.tar", "localhost/pause:1")
        self.ctr("images", "import", sandbox)
        self._kubelet = self._inside(
            "kubelet",
            self.cluster.binaries / "kubelet",
            f"--config={self.directory / 'kubelet.json'}",
            f"--kubeconfig={self._kubeconfig}",
            f"--hostname-override={self.name}",
            f"--root-dir={self.directory / 'kubelet'}",
            f"--cert-dir={self.directory / 'kubelet-certificates'}",
            *self._kubelet_options,
        )
        _wait("the node", self._is_ready)

    def stop(self) -> None:
        """
        Stop everything and put back what was changed outside of the node's own namespace.
        """
        for program in (self._scheduler, self._controller_manager):
            program.stop()
        if self._namespace_pid():
            # The namespace's first process takes all others with it, containers included.
            self._namespace.kill()
            for program in (self._kubelet, self._containerd):
                if program is not None:
                    # nsenter ends by itself, once it has taken leave of its child.
                    _wait(f"{program.name} to end", lambda p=program: not p.running, within=10)
                    program.stop()
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        for name, value in self._sysctls.items():
            if _sysctl(name).read_text() != value:
                _sysctl(name).write_text(value)
        self._remove_cgroups()

    def ctr(self, *arguments: str | Path) -> str:
        """
        Run `ctr` on the node's containerd, in the kubelet's namespace, and return its output.
        """
        return subprocess.run(
            ["ctr", "--address", self._socket, "--namespace", "k8s.io", *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def remove_image(self, reference: str) -> None:
        """
        Forget an image, as garbage collection does, so that it has to be pulled again.
        """
        self.ctr("images", "remove", "--sync", reference)

    def _program(self, name: str, *command: str | Path) -> Program:
        return Program(command, log=self.directory / f"{name}.log")

    def _namespace_pid(self) -> str:
        """
        Return the process id of the namespace's first process, or nothing where there is none.
        """
        if not self._namespace.running:
            return ""
        children = Path(f"/proc/{self._namespace.pid}/task/{self._namespace.pid}/children")
        ours = Path("/proc/self/ns/pid").readlink()
        # The other child is the watcher of `Program`, which lives outside.
        for child in children.read_text().split():
            if Path(f"/proc/{child}/ns/pid").readlink() != ours:
                return child
        return ""

    def _inside(self, name: str, *command: str | Path) -> Program:
        enter = ("nsenter", "--mount", "--pid", f"--target={self._namespace_pid()}", "--")
        program = self._program(name, *enter, *command)
        program.start()
        return program

    def _containerd_answers(self) -> bool:
        if self._containerd is not None:
            self._containerd.check()
        try:
            self.ctr("version")
        except subprocess.CalledProcessError:
            return False
        return True

    def _is_ready(self) -> bool:
        for program in (self._kubelet, self._controller_manager, self._scheduler):
            if program is not None:
                program.check()
        conditions = self._shown().get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _shown(self) -> dict[str, Any]:
        """
        Return the Node object, or nothing while there is none.
        """
        request = urllib.request.Request(
            f"{self.cluster.url}/api/v1/nodes/{self.name}",
            headers={"Authorization": f"Bearer {self.cluster.tokens['admin']}"},
        )
        try:
            with urllib.request.urlopen(request, context=self.cluster.ssl_context()) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            return {}

    def _cgroup_directories(self) -> list[Path]:
        """
        Return our cgroup in every hierarchy: one of version 2, or many of version 1.
        """
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self.unit]
        return [each / self.unit for each in _CGROUPS.iterdir() if each.is_dir()]

    def _make_cgroups(self) -> None:
        for directory in self._cgroup_directories():
            directory.mkdir()

    def _remove_cgroups(self) -> None:
        for directory in self._cgroup_directories():
            if not directory.exists():
                continue
            below = [each for each in directory.rglob("*") if each.is_dir()]
            for each in [*sorted(below, reverse=True), directory]:
                _wait(f"{each} to be empty", lambda each=each: _removed(each), within=10)

    def _write_files(self) -> None:
        (self.directory / "logs").mkdir(exist_ok=True)
        (self.directory / "manifests").mkdir(exist_ok=True)
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        self._write_network()
        for host, url in self._registries.items():
            directory = self.directory / "registries" / host
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "hosts.toml").write_text(
                f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
            )
        # Whatever is named nowhere goes nowhere: the discard port of loopback.
        default = self.directory / "registries" / "_default"
        default.mkdir(exist_ok=True, parents=True)
        (default / "hosts.toml").write_text('server = "http://127.0.0.1:9"\n')
        (self.directory / "containerd.toml").write_text(
            _CONTAINERD.format(
                directory=self.directory, socket=self._socket, snapshotter=self._snapshotter
            )
        )
        (self.directory / "kubelet.json").write_text(json.dumps(self._kubelet_configuration()))

    def _write_network(self) -> None:
        subnet = ipaddress.ip_network(f"10.244.{random.randrange(1, 255)}.0/24")
        ranges = [[{"subnet": str(subnet)}]]
        plugin = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": ranges,
                "routes": [{"dst": destination} for destination in self._routes],
                "dataDir": str(self.directory / "addresses"),
            },
        }
        network = {"cniVersion": "0.4.0", "name": self.bridge, "plugins": [plugin]}
        (self.directory / "network").mkdir(exist_ok=True)
        (self.directory / "network" / "10-node.conflist").write_text(json.dumps(network))

    def _kubelet_configuration(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": free_port(),
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.unit}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "makeIPTablesUtilChains": False,
            "podLogsDir": str(self.directory / "logs"),
            "resolvConf": str(self.directory / "resolv.conf"),
            "staticPodPath": str(self.directory / "manifests"),
            # A disk that is nearly full must not evict what the tests look at.
            "evictionHard": {"nodefs.available": "1Mi", "imagefs.available": "1Mi"},
            "imageGCHighThresholdPercent": 100,
            "maxPods": 250,
        }


# restrict_oom_score_adj: a restricted machine may not lower it, and runc fails then.  The
# snapshotter "native" copies; unlike overlayfs it works on every file system.
_CONTAINERD: Final = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "localhost/pause:1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/network"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{directory}/registries"
"""


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name


def _removed(directory: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        try:
            directory.rmdir()
        except OSError:
            return False
    return True


def _wait(what: str, ready, within: float = _READY_WITHIN) -> None:
    deadline = time.monotonic() + within
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {within:.0f} s for {what}.")
        time.sleep(0.1)
