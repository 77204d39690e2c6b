"""
The machine that the figures were measured on.
"""

import os
import platform
import ssl

from pathlib import Path

import aiohttp


__all__ = ["describe"]


def describe() -> dict[str, str]:
    """
    Return what makes figures comparable, or not.
    """
    return {
        "processor": _first("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "aiohttp": aiohttp.__version__,
        "openssl": ssl.OPENSSL_VERSION,
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "unknown"
