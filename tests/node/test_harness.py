"""
The node of the tests cleans up after itself.
"""

from pathlib import Path

import pytest

from tests.support.kube.client import ApiClient
from tests.support.kube.namespaces import namespaces
from tests.support.node.site import Site
from tests.support.node.workloads import deployment, is_running, wait_for_pods


pytestmark = pytest.mark.node

_SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def _commands():
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue


def _traces(site):
    """
    Name what of a site is to be seen on the machine.
    """
    mounts = Path("/proc/self/mounts").read_text()
    interfaces = [each.name for each in Path("/sys/class/net").iterdir()]
    places = {
        "processes": any(str(site.directory) in command for command in _commands()),
        "mounts": str(site.directory) in mounts,
        "cgroups": any(Path("/sys/fs/cgroup").glob(f"**/{site.node.unit}")),
        "network": site.node.bridge in interfaces,
        "files": site.directory.exists(),
    }
    return {name for name, seen in places.items() if seen}


@pytest.mark.usefixtures("_equipped")
async def test_nothing_is_left():
    """
    After a site has run Pods and is gone, no process, mount, cgroup, device or file of it is left.
    """
    before = [Path("/proc/sys", name).read_text() for name in _SYSCTLS]
    with Site() as site:
        async with (
            ApiClient(site.cluster) as client,
            namespaces(client, service_accounts=True) as make_namespace,
        ):
            namespace = await make_namespace("enforce")
            (await client.create(deployment(namespace, site.push()))).expect()
            await wait_for_pods(client, namespace, is_running, count=2)
        seen = _traces(site)

    assert {"processes", "cgroups", "network", "files"} == seen
    assert _traces(site) == set()
    assert [Path("/proc/sys", name).read_text() for name in _SYSCTLS] == before
