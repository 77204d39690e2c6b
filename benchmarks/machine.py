"""
The machine that the figures were measured on.
"""

import os
import platform
import ssl
import time

from pathlib import Path
from typing import Final

import aiohttp


__all__ = ["describe", "others_busy"]

_IDLE: Final = {3, 4}  # Of the counters in /proc/stat: idle, and waiting for disks.
_BUSY: Final = 0.05


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


def others_busy(seconds: float = 3.0) -> str:
    """
    Look for so many seconds, in which we do nothing, whether anybody else does; say so, or nothing.
    """
    before, idle_before = _ticks()
    time.sleep(seconds)
    total, idle = _ticks()
    busy = 1 - (idle - idle_before) / max(1, total - before)
    if busy <= _BUSY:
        return ""
    return (
        f"the machine was not idle: others used {busy:.0%} of its processors,"
        f" and the load was {os.getloadavg()[0]:.1f}"
    )


def _ticks() -> tuple[int, int]:
    line = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    counters = [int(text) for text in line.split()[1:9]]
    return sum(counters), sum(counters[i] for i in _IDLE)


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "unknown"
