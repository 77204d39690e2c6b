"""
Mistakes of ours: told, counted, and never the end of what the controller does.

What the API server says is a `ClusterError`, and each part deals with that.  Anything else that is
raised is something that nobody has thought of.  The controller must not go blind by it, and less so
without a word.
"""

import asyncio
import time

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from webhook.kube.api import backoff
from webhook.process.metrics import ControllerMetrics


__all__ = ["begun_again", "tell_mistake"]

_WELL: Final = 60.0
"""
What has gone on for so many seconds is begun again without a long wait.
"""

_log = structlog.get_logger()


def tell_mistake(metrics: ControllerMetrics, event: str, **about: str) -> None:
    """
    Log the exception that is being handled, with its traceback, and count it.
    """
    _log.error(event, exc_info=True, **about)
    metrics.recovery_failures.labels("internal-error").inc()


async def begun_again(
    what: str,
    work: Callable[[], Awaitable[None]],
    metrics: ControllerMetrics,
    pause: Callable[[int], float] = backoff,
) -> None:
    """
    Do *work* that never ends by itself, and begin it again where it breaks off.  Cancel to stop.

    Args:
        what: its name, for people.
        work: what is done.
        metrics: where it is counted that it broke off.
        pause: how long to wait, in seconds, after it broke off so many times in a row.
    """
    failures = 0
    while True:
        began = time.monotonic()
        try:
            await work()
        except Exception:  # noqa: BLE001 -- Whatever it is, it must go on.
            failures = 1 if time.monotonic() - began > _WELL else failures + 1
            tell_mistake(metrics, "broke off, and is begun again", what=what)
        await asyncio.sleep(pause(failures))
