"""
The alerts: by Prometheus' own tool, and against the metrics and pages that they name.
"""

import re
import shutil
import subprocess

from pathlib import Path

import pytest
import yaml

from prometheus_client import generate_latest

from tests.support.programs import require_program
from webhook.process.metrics import ControllerMetrics, WebhookMetrics


ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "charts/harbor-cache-webhook/files/alerts.yaml"
RULES = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


def test_alerts_fire_when_they_should_and_only_then(tmp_path):
    """
    `promtool test rules` runs every alert over made-up series, well and unwell.
    """
    promtool = require_program("promtool", "prometheus")
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(ROOT / "tests/chart/alerts.yaml", tmp_path / "tests.yaml")

    done = subprocess.run(
        [promtool, "test", "rules", "tests.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def test_every_alert_is_tested():
    """
    An alert without a case that fires is a check that may never fire.
    """
    cases = yaml.safe_load((ROOT / "tests/chart/alerts.yaml").read_text())["tests"]
    fired = {
        alert["alertname"]
        for case in cases
        for alert in case["alert_rule_test"]
        if alert["exp_alerts"]
    }

    assert {rule["alert"] for rule in RULES} == fired


def test_alerts_use_metrics_that_exist():
    """
    A metric that was renamed must not leave an alert behind that never fires.
    """
    known = {
        line.split()[2]
        for metrics in (WebhookMetrics(), ControllerMetrics())
        for line in generate_latest(metrics.registry).decode().splitlines()
        if line.startswith("# TYPE")
    }
    used = {
        name.removesuffix("_count")
        for rule in RULES
        for name in re.findall(r"harbor_cache_\w+", rule["expr"])
    }

    assert used <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_its_page(rule):
    """
    Whoever is woken finds what it means and what to do.
    """
    _, _, path = rule["annotations"]["runbook_url"].partition("/blob/main/")
    page = (ROOT / path).read_text()

    assert page.startswith(f"# {rule['alert']}\n")
    assert "## What to do" in page
