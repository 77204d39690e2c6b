"""
A Kubernetes API server to show and to test against: etcd and kube-apiserver on loopback.

There is no kubelet, so Pods stay Pending; and no controller manager, so a namespace has no default
ServiceAccount, which is why that admission plugin is off unless it is asked for.
"""

import base64
import json
import os
import random
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.request

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from webhook.demo.program import Program, ProgramError
from webhook.errors import HarborCacheError


__all__ = [
    "CONTROL_PLANE",
    "KUBERNETES_VERSION",
    "Cluster",
    "ClusterError",
    "cache_directory",
    "find_binaries",
    "free_port",
]


KUBERNETES_VERSION: Final = "1.37.2"
CONTROL_PLANE: Final = ("etcd", "kube-apiserver")

_READY_WITHIN: Final = 120.0  # Seconds.  It takes 4 on an idle machine.
_ADMINS: Final = "system:masters"

# Annotations of admission (who mutated, who failed open) come with the metadata; the patches
# themselves only from the level Request on.
_AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Request", "resources": [{"group": "", "resources": ["pods", "pods/*"]}]},
        {"level": "None"},
    ],
}


class ClusterError(HarborCacheError):
    """
    The programs of a cluster are not at hand, or they did not become ready.
    """


def cache_directory() -> Path:
    """
    Return where `make cluster-binaries` keeps what it built, outside of any checkout.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "harbor-cache-webhook" / "cluster" / KUBERNETES_VERSION / "bin"


def find_binaries(programs: Iterable[str] = CONTROL_PLANE) -> Path:
    """
    Return a directory that holds all `programs`: `KUBEBUILDER_ASSETS`, else the cache.

    Raises `ClusterError` where neither does.
    """
    wanted = tuple(programs)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for directory in [*([Path(assets)] if assets else []), cache_directory()]:
        if all(os.access(directory / program, os.X_OK) for program in wanted):
            return directory
    raise ClusterError(
        f"{' and '.join(wanted)} are not at hand: run `make cluster-binaries`,"
        " or set KUBEBUILDER_ASSETS to a directory that holds them."
    )


def free_port() -> int:
    """
    Return a TCP port of 127.0.0.1 that nobody listens on.

    Ports from which the kernel serves outgoing connections (32768 and up) are left out: such a
    connection could take the port before its user does.
    """
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311  No secret.
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Cluster:
    """
    One throw-away cluster; a context manager that starts it and stops it for sure.

    `flags` are added to kube-apiserver's, `users` maps further user names to their groups (the
    authorizer is RBAC), `audit` switches the audit log of Pods on (`audit_log`), and
    `service_accounts` keeps the ServiceAccount admission plugin, for clusters that have a
    controller manager.  All calls block; a coroutine runs them in a thread.
    """

    def __init__(
        self,
        directory: Path,
        *,
        binaries: Path | None = None,
        flags: Sequence[str] = (),
        users: Mapping[str, Sequence[str]] | None = None,
        audit: bool = False,
        service_accounts: bool = False,
    ) -> None:
        self.directory = directory
        self.binaries = binaries or find_binaries()
        self.audit_log = directory / "audit.log"
        self.service_account_key = directory / "service-account.key"
        self.ca_file = directory / "certificates" / "apiserver.crt"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.users = {"admin": (_ADMINS,), **(users or {})}
        self.tokens = {user: secrets.token_urlsafe() for user in self.users}
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self._peer_url = f"http://127.0.0.1:{free_port()}"
        self._flags = list(flags)
        self._audit = audit
        self.service_accounts = service_accounts
        self.etcd = Program(self._etcd_command(), log=directory / "etcd.log")
        self.api_server = Program(self._api_server_command(), log=directory / "kube-apiserver.log")

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
        Write keys and tokens, start both programs, and return when the API server is ready.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_files()
        self.etcd.start()
        self.start_api_server()

    def stop(self) -> None:
        """
        Stop both programs; what they wrote stays in `directory`.
        """
        self.api_server.stop()
        self.etcd.stop()

    def start_api_server(self) -> None:
        """
        Start the API server on its port, which stays the same, and wait until it is ready.
        """
        self.api_server.start()
        self._wait_until_ready()

    def stop_api_server(self) -> None:
        """
        Stop the API server alone; etcd keeps what it knows.
        """
        self.api_server.stop()

    def kubeconfig(self, user: str = "admin", *, url: str | None = None) -> Path:
        """
        Return a kubeconfig file of `user`, that kubectl and every client library can read.

        `url` names another way to the same API server, such as a proxy on loopback.
        """
        path = self.directory / f"{user}.kubeconfig"
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": user}}],
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {
                        "server": url or self.url,
                        "certificate-authority-data": authority,
                    },
                }
            ],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
        }
        _write_private(path, json.dumps(content, indent=2))
        return path

    def ssl_context(self) -> ssl.SSLContext:
        """
        Return a context that trusts this API server and nothing else.
        """
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _etcd_command(self) -> list[str | Path]:
        return [
            self.binaries / "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={self._peer_url}",
            f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster=default={self._peer_url}",
            "--unsafe-no-fsync",  # Nothing here has to survive a power cut.
            "--log-level=warn",
        ]

    def _api_server_command(self) -> list[str | Path]:
        command: list[str | Path] = [
            self.binaries / "kube-apiserver",
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.ca_file.parent}",
            f"--service-account-key-file={self.service_account_key}",
            f"--service-account-signing-key-file={self.service_account_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
        ]
        if not self.service_accounts:
            command.append("--disable-admission-plugins=ServiceAccount")
        if self._audit:
            command += [
                f"--audit-policy-file={self.directory / 'audit-policy.json'}",
                f"--audit-log-path={self.audit_log}",
            ]
        return [*command, *self._flags]

    def _write_files(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        _write_private(self.service_account_key, pem.decode())
        rows = [
            f'{self.tokens[user]},{user},{user},"{",".join(groups)}"\n'
            for user, groups in self.users.items()
        ]
        _write_private(self.directory / "tokens.csv", "".join(rows))
        (self.directory / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not self._is_ready():
            for program in (self.etcd, self.api_server):
                try:
                    program.check()
                except ProgramError as error:
                    raise ClusterError(str(error)) from None
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"kube-apiserver is not ready after {_READY_WITHIN:.0f} s.\n"
                    f"{self.api_server.log_end()}"
                )
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        request = urllib.request.Request(  # noqa: S310  Always https.
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.tokens['admin']}"}
        )
        try:
            with urllib.request.urlopen(  # noqa: S310  Always https.
                request, timeout=5, context=self.ssl_context()
            ) as response:
                return bool(response.status == HTTPStatus.OK)
        except (OSError, urllib.error.URLError):
            return False


def _write_private(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content)
