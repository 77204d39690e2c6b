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
    status = monitor.status()
    conditions = {HARBOR: status.harbor, **status.projects}
    results = [ProbeResult(name, str(each.state), each.why) for name, each in conditions.items()]
    return monitor.view(), results
