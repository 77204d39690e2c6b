"""
The webhook as a process of its own, as it runs in a cluster: `harbor-cache serve`.
"""

import json
import sys
import time
import urllib.error
import urllib.request

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import trustme

from webhook.demo.cluster import free_port
from webhook.demo.program import Program


__all__ = ["WebhookProcess", "configuration"]


def configuration(harbor_url: str, **sections: Any) -> dict[str, Any]:
    """
    Return a config for tests: probes are quick, `sections` replace or add to the rest.
    """
    return {
        "apiVersion": "harbor-cache.io/v1",
        "kind": "Config",
        "harbor": {"url": harbor_url},
        "probe": {"interval": "0.5s", "timeout": "1s", "failureThreshold": 2, "maxAge": "10s"},
        **sections,
    }


class WebhookProcess:
    """
    One replica; a context manager.  It may be stopped by SIGTERM and started again on its ports.

    Its serving certificate is for 127.0.0.1, from `authority`; `environment` takes the place of
    ours, and `command` that of this very program, where they are given.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        authority: trustme.CA,
        *,
        drain_seconds: float = 0.0,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        command: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.config_file = directory / "config.yaml"
        self.certificate_file = directory / "tls.crt"
        self.key_file = directory / "tls.key"
        self.port = free_port()
        self.ops_port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ops_url = f"http://127.0.0.1:{self.ops_port}"
        self.ca_bundle = authority.cert_pem.bytes()
        self.config_file.write_text(json.dumps(config))
        pair = authority.issue_cert("127.0.0.1")
        self.certificate_file.write_bytes(b"".join(each.bytes() for each in pair.cert_chain_pems))
        self.key_file.write_bytes(pair.private_key_pem.bytes())
        self.program = Program(
            [
                *((command,) if command else (sys.executable, "-m", "webhook")),
                "serve",
                f"--config={self.config_file}",
                f"--tls-cert={self.certificate_file}",
                f"--tls-key={self.key_file}",
                "--host=127.0.0.1",
                f"--port={self.port}",
                f"--ops-port={self.ops_port}",
                f"--drain-seconds={drain_seconds}",
                *options,
            ],
            log=directory / "webhook.log",
            environment=environment,
            grace=drain_seconds + 10,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, within: float = 20.0) -> None:
        """
        Start it and return when it is ready.
        """
        self.program.start()
        deadline = time.monotonic() + within
        while not self.ready():
            self.program.check()
            if time.monotonic() > deadline:
                self.program.kill()
                raise TimeoutError(f"Not ready after {within} s.\n{self.program.log_end()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """
        Send SIGTERM, wait for its end, and return the exit code.
        """
        return self.program.stop()

    def ready(self) -> bool:
        """
        Whether /readyz says so.
        """
        try:
            with urllib.request.urlopen(f"{self.ops_url}/readyz", timeout=2):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def read(self, path: str) -> str:
        """
        Return a page of the ops port: /metrics, /status.
        """
        with urllib.request.urlopen(f"{self.ops_url}{path}", timeout=5) as response:
            return response.read().decode()

    def records(self, event: str | None = None) -> list[dict[str, Any]]:
        """
        Return its log lines as objects, those of one event if it is named.
        """
        lines = self.program.log.read_text(errors="replace").splitlines()
        parsed = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in parsed if event is None or each.get("event") == event]
