"""
Debian's `docker-registry` on loopback: an upstream, or a pull-through cache of one.
"""

import json
import time
import urllib.error
import urllib.request

from pathlib import Path
from typing import Self

from webhook.demo.cluster import free_port
from webhook.demo.program import Program


__all__ = ["Registry"]


class Registry:
    """
    One registry, over HTTP and open to all; with `caches` it pulls through from that URL.

    It stays on its port when it is stopped and started again, and keeps what it holds.
    """

    def __init__(self, directory: Path, *, caches: str | None = None) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self._directory = directory
        self._caches = caches
        self._program = Program(
            ["docker-registry", "serve", directory / "config.json"], log=directory / "log"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """
        Start it and return when it answers.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self._directory / "store")}},
            "http": {"addr": self.host},
        }
        if self._caches:
            configuration["proxy"] = {"remoteurl": self._caches}
        # JSON is YAML.
        (self._directory / "config.json").write_text(json.dumps(configuration))
        self._program.start()
        deadline = time.monotonic() + 30
        while not self._answers():
            self._program.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.url} does not answer.")
            time.sleep(0.05)

    def stop(self) -> None:
        """
        Stop it: connections are refused.
        """
        self._program.stop()

    def requests(self) -> list[str]:
        """
        Return the lines of its access log.
        """
        text = self._program.log.read_text(errors="replace")
        return [line for line in text.splitlines() if '"GET /v2/' in line or '"HEAD /v2/' in line]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/v2/", timeout=2):
                return True
        except (OSError, urllib.error.URLError):
            return False
