"""
All faults, in the order in which they are tried.
"""

from typing import Final

from tests.faults.scenario import Scenario
from tests.faults.scenarios import (
    certificates,
    clients,
    clock,
    config,
    floods,
    harbor,
    impostors,
    replicas,
)


__all__ = ["SCENARIOS"]

SCENARIOS: Final[dict[str, Scenario]] = {
    **harbor.FAULTS,
    **replicas.FAULTS,
    **certificates.FAULTS,
    **config.FAULTS,
    **clock.FAULTS,
    **clients.FAULTS,
    **floods.FAULTS,
    **impostors.FAULTS,
}
