"""
The CronJob that keeps audits, with an account of exactly its rights.
"""

import asyncio
import json
import os
import sys

from pathlib import Path

import pytest
import yaml

from tests.support.fleet import fill
from tests.support.kube.client import ApiClient
from webhook.demo.registration import webhook_configuration


pytestmark = pytest.mark.kube

ROOT = Path(__file__).parents[2]
THINGS = list(yaml.safe_load_all((ROOT / "deploy/audit/cronjob.yaml").read_text("utf-8")))
ACCOUNT = "system:serviceaccount:harbor-cache:harbor-cache-audit"


async def _install(client):
    """
    Make what the chart makes, as far as a survey looks at it.
    """
    config = {
        "apiVersion": "harbor-cache.io/v1",
        "kind": "Config",
        "harbor": {"url": "https://harbor-cache.example.com"},
    }
    metadata = {"name": "harbor-cache-webhook", "namespace": "harbor-cache"}
    configuration = webhook_configuration("https://127.0.0.1:9", b"")
    for webhook in configuration["webhooks"]:
        webhook["clientConfig"] = {"service": metadata}
    for thing in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "harbor-cache"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"config.yaml": json.dumps(config)},
        },
        configuration,
    ):
        (await client.create(thing)).expect()


async def test_the_audit_of_the_cronjob_sees_all_and_may_change_nothing(start_cluster, tmp_path):
    """The API server takes the manifest as it is, and its rights are enough for a whole survey."""
    cluster = start_cluster(users={ACCOUNT: ()})
    async with ApiClient(cluster) as client:
        await fill(client, prefix="team", namespaces=2, pods=20)
        await _install(client)
        answers = [await client.create(thing) for thing in THINGS]
    (cron,) = (thing for thing in THINGS if thing["kind"] == "CronJob")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    arguments = [
        argument.replace("/reports/$(JOB)", str(tmp_path / "report"))
        for argument in container["args"]
    ]
    # A kubeconfig's path may have no colon.
    kubeconfig = cluster.kubeconfig(ACCOUNT).rename(tmp_path / "kubeconfig")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webhook", *arguments),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
    )
    _, errors = await asyncio.wait_for(process.communicate(), 120)

    assert [(201, ())] * len(THINGS) == [(answer.status, answer.warnings) for answer in answers]
    assert (0, "") == (process.returncode, errors.decode())

    page = (tmp_path / "report.html").read_text("utf-8")

    assert "Audit of <strong>production</strong>" in page
    assert "harbor-cache.example.com/" in page
    assert "could be seen" not in page
    assert "placeholder." not in page

    verbs = {verb for thing in THINGS for rule in thing.get("rules", ()) for verb in rule["verbs"]}

    assert {"list", "get"} == verbs
