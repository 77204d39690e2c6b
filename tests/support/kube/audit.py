"""
The API server's audit log, as far as it tells about webhooks.
"""

import asyncio
import json
import time

from typing import Any

from webhook.demo.cluster import Cluster


__all__ = ["audit_events", "wait_for_audit_event"]


def audit_events(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """
    Return the events about Pods of a namespace, oldest first.
    """
    lines = cluster.audit_log.read_text().splitlines() if cluster.audit_log.exists() else []
    # The last line may be half written.
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in events if event.get("objectRef", {}).get("namespace") == namespace]


async def wait_for_audit_event(
    cluster: Cluster, namespace: str, verb: str, within: float = 10.0
) -> dict[str, Any]:
    """
    Return the last event with a verb; it is written a moment after the client has its answer.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := [e for e in audit_events(cluster, namespace) if e["verb"] == verb]:
            return found[-1]
        await asyncio.sleep(0.1)
    raise TimeoutError(f"No {verb} in {namespace} in the audit log after {within} s.")
