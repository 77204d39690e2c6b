"""
The Grafana dashboard: its form, and each of its queries at a real Prometheus.
"""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time

from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)

from tests.server.test_main import CONFIG, REVIEW, Webhook, issue
from tests.support.programs import require_program
from webhook.demo.cluster import free_port
from webhook.demo.standin import HarborStandIn
from webhook.process.metrics import ControllerMetrics, WebhookMetrics


CHART = Path(__file__).parents[2] / "charts/harbor-cache-webhook"
DASHBOARD = json.loads((CHART / "files/dashboard.json").read_text())
ALERTS = CHART / "files/alerts.yaml"
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
FOREIGN = {
    "apiserver_admission_webhook_fail_open_count",
    "apiserver_admission_webhook_admission_duration_seconds_bucket",
    "process_resident_memory_bytes",
}
NAMES = re.compile(r"\b(?:harbor_cache|apiserver|process)_\w+")


def known_names():
    """
    Return the names under which our metrics are exposed, those of histograms' parts included.
    """
    names = set()
    for metrics in (WebhookMetrics(), ControllerMetrics()):
        for line in generate_latest(metrics.registry).decode().splitlines():
            if line.startswith("# TYPE harbor_cache_"):
                _, _, name, kind = line.split()
                names |= {f"{name}_bucket", f"{name}_count"} if kind == "histogram" else {name}
    return names


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_queries_use_metrics_that_exist(query):
    """
    A metric that was renamed must not leave an empty panel behind.
    """
    used = set(NAMES.findall(query))

    assert used
    assert used <= known_names() | FOREIGN


def test_every_metric_is_shown():
    """
    No metric is counted for nobody.
    """
    shown = {
        name.removesuffix("_bucket") for query in QUERIES.values() for name in NAMES.findall(query)
    }
    known = {re.sub(r"_(bucket|count)$", "", name) for name in known_names()}

    assert not {name for name in known if not name.endswith("_created")} - shown


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_explain_themselves(panel):
    """
    Each panel says what it shows, and asks the data source that was chosen.
    """
    targets = panel["targets"]

    assert len(panel["description"]) > 40
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["datasource"] == panel["datasource"] for target in targets)
    assert len({target["refId"] for target in targets}) == len(targets)


def test_panels_do_not_overlap():
    """
    Ids are unique, and every cell of the grid belongs to one panel at most.
    """
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len(ids) == len(set(ids))


@pytest.mark.slow
async def test_every_query_returns_data(tmp_path):
    """
    Prometheus scrapes a webhook at work, and answers every query of dashboard and alerts.

    The controller's metrics come from its own collectors with values set, and those of the API
    server from two of the same name and labels.
    """
    program = require_program("prometheus", "prometheus")
    issue(tmp_path)
    async with HarborStandIn(strict=False) as harbor:
        (tmp_path / "config.yaml").write_text(CONFIG.format(url=harbor.url))
        registry, durations = api_server_metrics()
        async with Webhook(tmp_path) as webhook:

            async def traffic():
                durations.observe(0.003)
                await webhook.ask()

            with (
                exporter(controller_registry()) as controller,
                exporter(registry) as api_server,
            ):
                ports = {"webhook": webhook.ops_port, "controller": controller}
                async with prometheus(
                    program, tmp_path / "prometheus", {**ports, "apiserver": api_server}
                ) as url:
                    await webhook.ready()
                    await live_through_something(webhook, harbor)
                    empty = await until_all_answer(url, traffic)
                    rules = await ask(url, "/api/v1/rules")
    health = {rule["name"]: rule["health"] for group in rules["groups"] for rule in group["rules"]}

    assert [] == empty
    assert {rule["alert"] for rule in alert_rules()} == health.keys()
    assert {"ok"} == set(health.values())


def alert_rules():
    return yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


async def live_through_something(webhook, harbor):
    """
    Let images be rewritten, kept and audited, Harbor die and return, and a config be refused.
    """
    await webhook.until_reason("rule")
    review = json.loads(json.dumps(REVIEW))
    review["request"]["object"]["spec"]["containers"][0]["image"] = "registry.example.com/app:1"
    for path in ("mutate", "audit"):
        for body in (REVIEW, review):
            url = f"https://127.0.0.1:{webhook.port}/{path}"
            async with webhook.session.post(url, json=body, ssl=webhook.trust()) as answer:
                assert (await answer.json())["response"]["allowed"] is True
    await harbor.stop()
    await webhook.until_reason("harbor-unavailable")
    await harbor.start()
    await webhook.until_reason("rule")
    (webhook.directory / "config.yaml").write_text("junk")
    await webhook.until(
        lambda: webhook.metric('harbor_cache_config_reload_total{result="refused"} 1.0'), bool
    )


async def until_all_answer(url, traffic, seconds=60.0):
    """
    Ask until every query has returned a number; return those that have not.
    """
    queries = {title: fill_in(query) for title, query in QUERIES.items()}
    # A query that ends with `or vector(0)` has an answer in any case, and an alert has one only
    # when it fires: so each metric in them is asked for by itself.
    expressions = [*QUERIES.values(), *(rule["expr"] for rule in alert_rules())]
    names = {name for expression in expressions for name in NAMES.findall(expression)}
    queries |= {name: f"count({name})" for name in names}
    deadline = time.monotonic() + seconds
    while True:
        await traffic()
        empty = [query for query in queries.values() if not await has_data(url, query)]
        if not empty or time.monotonic() > deadline:
            return empty
        await asyncio.sleep(1)


def fill_in(query):
    """
    Put in what Grafana would put in.
    """
    for variable, value in (
        ("$__rate_interval", "20s"),
        ("$__range", "1m"),
        ("$job", ".+"),
        ("$cluster", ".*"),
    ):
        query = query.replace(variable, value)
    assert "$" not in query
    return query


async def has_data(url, query):
    answer = await ask(url, "/api/v1/query", query=query)
    values = [sample["value"][1] for sample in answer["result"]]
    return bool(values) and any(value != "NaN" for value in values)


async def ask(url, path, **parameters):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}{path}", params=parameters) as answer,
    ):
        body = await answer.json()
        assert body["status"] == "success", body
        return body["data"]


@asynccontextmanager
async def prometheus(program, directory, ports):
    """
    Run Prometheus over the given ports of loopback, one job each, with our alerts; yield its URL.
    """
    directory.mkdir()
    shutil.copy(ALERTS, directory)
    port = free_port()
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{number}"]}]}
        for name, number in ports.items()
    ]
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": every, "rule_files": ["alerts.yaml"], "scrape_configs": jobs}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await until_ready(process, url, log)
        yield url
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def until_ready(process, url, log):
    deadline = time.monotonic() + 30
    async with aiohttp.ClientSession() as session:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/-/ready") as answer:
                    if answer.ok:
                        return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"Prometheus is not ready:\n{log.read_text()[-2000:]}")


@contextmanager
def exporter(registry):
    """
    Serve a registry on loopback; yield the port.
    """
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def controller_registry():
    """
    Return the controller's own collectors, with a value in each that has labels.
    """
    metrics = ControllerMetrics()
    metrics.harbor.harbor_available.set(1)
    metrics.pods.labels("cached").set(90)
    metrics.pods.labels("direct").set(8)
    metrics.pods.labels("restored").set(2)
    metrics.pods_recovered.labels("project-unavailable").inc(2)
    metrics.recovery_failures.labels("image-volume").inc()
    return metrics.registry


def api_server_metrics():
    """
    Return the registry of collectors like those that an API server has about us, and one of them.
    """
    registry = CollectorRegistry()
    name = "enforce.harbor-cache.io"
    # A gauge, since the client puts _total behind the name of a counter.
    Gauge(
        "apiserver_admission_webhook_fail_open_count", "…", ["name", "type"], registry=registry
    ).labels(name, "admit").set(0)
    durations = Histogram(
        "apiserver_admission_webhook_admission_duration_seconds",
        "…",
        ["name", "type", "operation", "rejected"],
        registry=registry,
    ).labels(name, "admit", "CREATE", "false")
    return registry, durations
