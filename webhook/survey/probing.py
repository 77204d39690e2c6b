"""
A short look at Harbor, for commands that end.
"""

from webhook.config import Config
from webhook.harbor.monitor import Monitor
from webhook.image.availability import Availability
from webhook.survey.model import HARBOR, ProbeResult


__all__ = ["probe_briefly"]


async def probe_briefly(config: Config) -> tuple[Availability, list[ProbeResult]]:
    """
    Look at Harbor and its projects until it is clear how they are.
    """
    monitor = Monitor(config)
    for _ in range(config.probe.failure_threshold):
        await monitor.round()
    view, status = monitor.view(), monitor.status()
    results = [_result(HARBOR, status.get("harbor"), str(view.harbor))]
    projects = status.get("projects")
    for registry in config.registries:
        known = projects.get(registry.project) if isinstance(projects, dict) else None
        state = str(view.project(registry.project))
        results.append(_result(registry.project, known, state))
    return view, results


def _result(name: str, status: object, state: str) -> ProbeResult:
    why = status.get("why") if isinstance(status, dict) else None
    return ProbeResult(name, state, str(why or ""))
