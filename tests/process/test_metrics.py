"""
What both processes tell of themselves, beside what they do.
"""

from pathlib import Path

import pytest

from webhook import __version__
from webhook.process.metrics import ControllerMetrics, WebhookMetrics


@pytest.mark.parametrize("metrics", [WebhookMetrics, ControllerMetrics])
def test_a_process_tells_its_version_and_what_it_uses(metrics):
    """
    The version is a label, and memory and open files are those of this very process.
    """
    registry = metrics().registry
    files = len(list(Path("/proc/self/fd").iterdir()))
    memory = registry.get_sample_value("process_resident_memory_bytes")

    assert 1.0 == registry.get_sample_value("harbor_cache_build_info", {"version": __version__})
    assert 1024 * 1024 < memory
    assert files == pytest.approx(registry.get_sample_value("process_open_fds"), abs=2)
