"""
The vow of docs/compatibility.md: what an earlier version wrote still works, and means the same.
"""

import json
import shutil

from pathlib import Path

import pytest
import yaml

from msgspec import convert

from tests.support.helm import CHART, HARBOR, helm
from webhook.config import default_config, load_config, parse_config
from webhook.image.decision import Reason
from webhook.pod import model
from webhook.pod.model import Pod
from webhook.pod.origin import origins, source_of
from webhook.process.metrics import ControllerMetrics, WebhookMetrics


KEPT = Path(__file__).parents[1] / "data/compatibility"
VERSIONS = sorted(path.name for path in KEPT.iterdir())


def kept(pattern):
    return [
        pytest.param(path, id=f"{path.parent.name}-{path.name}")
        for path in sorted(KEPT.glob(f"*/{pattern}"))
    ]


@pytest.mark.parametrize("path", kept("*-config.yaml"))
def test_a_config_file_of_before_is_read(path):
    """A config file that an earlier version read is read, with nothing changed in it."""

    assert "harbor-cache.example.com" == load_config(path, {}).harbor.host


@pytest.mark.parametrize("path", kept("*-values.yaml"))
def test_values_of_before_install(path):
    """The chart renders with the values of an earlier version, and the config in it is read."""
    url = "config.harbor.url=https://harbor-cache.example.com"
    given = ["--set", url] if "harbor:" not in path.read_text() else []
    rendered = helm("template", "x", str(CHART), "--values", str(path), *given)
    objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
    (config,) = (
        item["data"]["config.yaml"] for item in objects if "config.yaml" in item.get("data", {})
    )

    assert "" == rendered.stderr
    assert parse_config(config, {}).registries


@pytest.mark.parametrize("version", VERSIONS)
def test_reused_values_upgrade(version, tmp_path):
    """Upgraded with --reuse-values, which knows no newer value, the chart renders what it does."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    shutil.copy(KEPT / version / "defaults.yaml", chart / "values.yaml")
    everything = [
        f"--set={part}.enabled=true"
        for part in ("networkPolicy", "serviceMonitor", "prometheusRule")
    ]
    rendered, reused = (
        helm("template", "x", str(each), *HARBOR, *everything) for each in (CHART, chart)
    )

    assert "" == reused.stderr
    assert rendered.stdout == reused.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pod_of_before_leads_back(version):
    """A Pod that an earlier version rewrote leads to its originals; a restored one is known."""
    pods = [convert(pod, Pod) for pod in json.loads((KEPT / version / "pods.json").read_text())]
    rewritten, restored = (origins(pod, default_config().rules) for pod in pods)
    annotations = pods[0].metadata.annotations

    assert list(annotations.values()) == [origin.original for origin in rewritten]
    assert ("cached", "restored") == (source_of(rewritten), source_of(restored))


@pytest.mark.parametrize("version", VERSIONS)
def test_names_stay(version):
    """Labels, the record, reasons and metrics of an earlier version are those of this one."""
    names = json.loads((KEPT / version / "names.json").read_text())
    metrics = set()
    for each in (WebhookMetrics(), ControllerMetrics()):
        for family in each.registry.collect():
            metrics |= {family.name, f"{family.name}_total"}

    assert names["labels"] == {"mode": model.MODE_LABEL, "rewritten": model.REWRITTEN_LABEL}
    assert names["recordPrefix"] == model.RECORD_PREFIX
    assert set(names["reasons"]) <= {str(reason) for reason in Reason}
    assert set(names["metrics"]) <= metrics
