"""
Both families of addresses, in network namespaces of their own.
"""

import os
import shutil
import subprocess
import sys

from pathlib import Path

import pytest

from webhook.demo.cluster import free_port


pytestmark = pytest.mark.slow

CONFIG = """\
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {url: "http://harbor.example", apiUrl: "http://127.0.0.1:9"}
probe: {interval: 500ms, timeout: 500ms, maxAge: 5s}
"""
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: c, cluster: {server: "https://127.0.0.1:9"}}]
contexts: [{name: here, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
"""
# Asks for /livez until it is answered; the kernel clears the namespace away with its processes.
SCRIPT = """
set -e
ip link set lo up
{prepare}
"$@" &
process=$!
for _ in $(seq 300); do
  if {python} -c "{ask}" 2>/dev/null; then kill $process; wait $process; exit 0; fi
  kill -0 $process
  sleep 0.1
done
kill $process
exit 3
"""
ASK = "import urllib.request as r; r.urlopen('http://{host}:{port}/livez', timeout=2)"

FAMILIES = {
    "IPv6 alone": ("ip -4 addr flush dev lo", "[::1]"),
    "no IPv6": ("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6", "127.0.0.1"),
}


@pytest.fixture(autouse=True)
def namespaces():
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces need root, ip and unshare")


@pytest.mark.parametrize("command", ["serve", "controller"])
@pytest.mark.parametrize("family", FAMILIES)
def test_either_family_will_do(tmp_path, command, family):
    """
    With no IPv4 address at all, and with no IPv6, both processes are there for their probes.
    """
    prepare, host = FAMILIES[family]
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    port = free_port()
    options = {
        "serve": ["--tls-cert=none.crt", "--tls-key=none.key", "--port=0", "--drain-seconds=0"],
        "controller": ["--kubeconfig=kubeconfig", "--namespace=default"],
    }
    script = SCRIPT.format(
        prepare=prepare, python=sys.executable, ask=ASK.format(host=host, port=port)
    )
    run = subprocess.run(
        [
            *("unshare", "--net", "--kill-child", "/bin/sh", "-c", script, "sh"),
            *(sys.executable, "-m", "webhook", command),
            *("--config=config.yaml", f"--ops-port={port}", *options[command]),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert 0 == run.returncode, run.stdout[-2000:] + run.stderr[-2000:]
