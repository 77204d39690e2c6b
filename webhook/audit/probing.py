"""
One look at Harbor, for commands that end.
"""

from webhook.audit.model import ProbeResult
from webhook.availability import Availability
from webhook.config import Config
from webhook.harbor.probe import Monitor


__all__ = ["probe_once"]


async def probe_once(config: Config) -> tuple[Availability, list[ProbeResult]]:
    """
    Look at Harbor and its projects once, and return what is known of them then.
    """
    monitor = Monitor(config)
    await monitor.round()
    view, status = monitor.view(), monitor.status()
    results = [_result("Harbor", status.get("harbor"), str(view.harbor))]
    projects = status.get("projects")
    for registry in config.registries:
        known = projects.get(registry.project) if isinstance(projects, dict) else None
        state = str(view.project(registry.project))
        results.append(_result(registry.project, known, state))
    return view, results


def _result(name: str, status: object, state: str) -> ProbeResult:
    why = status.get("why") if isinstance(status, dict) else None
    return ProbeResult(name, state, str(why or ""))
