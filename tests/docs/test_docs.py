"""
The documentation against the program: what exists is described, and what is linked is there.
"""

import re
import typing

from pathlib import Path

import click
import pytest
import yaml

from prometheus_client import generate_latest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from charts.generate import documented_values
from webhook.cli import main
from webhook.config import Config, parse_config
from webhook.config.base import parse_duration
from webhook.harbor.client import Cause as ProbeCause
from webhook.image.decision import Reason
from webhook.process.metrics import ControllerMetrics, WebhookMetrics
from webhook.recovery.move import Cause, LeftReason
from webhook.survey.explanation import REASONS


ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHART = ROOT / "charts/harbor-cache-webhook"
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        CHART / "README.md",
        *DOCS.rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]
)
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \|(?P<rest>.*)\|$", re.MULTILINE)
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
MACHINE_PATHS = ("/root/", "/home/", "/Users/", "/tmp/", "/work/")
UNFINISHED = ("TODO", "FIXME", "XXX", "TBD", "lorem ipsum")


def page_name(path):
    return str(path.relative_to(ROOT))


def rows(page):
    """
    Return the table rows of a page whose first cell is code, by that code.
    """
    found = {}
    for match in ROW.finditer((DOCS / page).read_text()):
        found.setdefault(match["name"], []).append(
            [cell.strip() for cell in match["rest"].split(" | ")]
        )
    return found


def section_of(annotation):
    """
    Return the section of the config file that an annotation holds, if it does.
    """
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def config_keys(model=Config, prefix=""):
    """
    Yield every key of the config file by its path, with its default.
    """
    for field in model.model_fields.values():
        path = f"{prefix}{field.alias}"
        section = section_of(field.annotation)
        if section is None:
            yield path, field.default
        elif typing.get_origin(field.annotation) is tuple:
            yield from config_keys(section, f"{path}[].")
        else:
            yield from config_keys(section, f"{path}.")


def commands(command=main, names=()):
    """
    Yield every command that does something, with its name.
    """
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*names, name))
    else:
        yield " ".join(("harbor-cache", *names)), command


def metric_names():
    for metrics in (WebhookMetrics(), ControllerMetrics()):
        for line in generate_latest(metrics.registry).decode().splitlines():
            name = line.split()[2] if line.startswith("# TYPE") else ""
            if name.startswith("harbor_cache_") and not name.endswith("_created"):
                yield name


def anchors(path):
    """
    Return the anchors that the headings of a page get.
    """
    text = FENCE.sub("", path.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_config_key_is_described_with_its_default():
    """
    configure.md has a row for every key, for no other, and tells the right default.
    """
    described = rows("configure.md")
    sections = {"registries", "provisioning.retention", "provisioning.garbageCollection"} | {
        "provisioning.robot",
        "provisioning.oidc",
    }
    registries = {registry.host for registry in Config.model_fields["registries"].default}
    keys = dict(config_keys())
    wrong = {
        key: described[key][0][1]
        for key, default in keys.items()
        if key in described and not says(described[key][0][1].strip("`"), default)
    }

    assert not keys.keys() - described.keys()
    assert not described.keys() - keys.keys() - sections - registries
    assert {} == wrong
    assert registries <= described.keys()


def says(shown, default):
    if default is PydanticUndefined:
        return shown == "required"
    if default is None:
        return shown == "none"
    if isinstance(default, float) and not shown.isdigit():
        return parse_duration(shown) == default
    if isinstance(default, tuple):
        return yaml.safe_load(shown) == list(default)
    if isinstance(default, str):
        return shown == default
    return yaml.safe_load(shown) == default


@pytest.mark.parametrize(("name", "command"), [*commands()], ids=lambda value: str(value)[:40])
def test_every_command_and_option_is_described(name, command):
    """
    commands.md has a section for every command, with exactly the options that it takes.
    """
    text = (DOCS / "commands.md").read_text()
    group = name.rpartition(" ")[0]
    sections = re.split(r"^## `(harbor-cache [^`]+)`$", text, flags=re.MULTILINE)
    by_name = dict(zip(sections[1::2], sections[2::2], strict=True))
    section = by_name.get(name) or by_name[group]
    described = set(
        re.findall(r"--[a-z][a-z-]+", "".join(re.findall(r"^\| `-.+$", section, re.MULTILINE)))
    )
    options = {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }

    assert f"`{name}`" in text
    assert options == described - {"--help"}
    assert command.help


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_described(reason):
    """
    Each reason stands in reasons.md, and in words for `explain`.
    """
    assert reason.value in rows("reasons.md")
    assert REASONS[reason]


def test_every_cause_is_described():
    """
    The causes of recovery and of failed probes, which are labels of metrics, are explained.
    """
    reasons = rows("reasons.md").keys()
    metrics = (DOCS / "metrics.md").read_text()

    counted = {
        sample.labels["cause"]
        for family in ControllerMetrics().registry.collect()
        for sample in family.samples
        if "cause" in sample.labels
    }

    assert counted >= {cause.value for cause in (*Cause, *LeftReason)}
    assert not counted - reasons
    assert not [cause for cause in ProbeCause if f"`{cause.value}`" not in metrics]


def test_every_metric_is_described():
    """
    metrics.md has a row for every metric, and for no other.
    """
    described = {name for name in rows("metrics.md") if name.startswith("harbor_cache_")}

    assert described == set(metric_names())


def test_every_alert_is_described():
    """
    metrics.md links each alert's page, and each page belongs to an alert.
    """
    groups = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    text = (DOCS / "metrics.md").read_text()

    assert alerts == {page.stem for page in (DOCS / "runbooks").glob("*.md")}
    assert not [alert for alert in alerts if f"[{alert}](runbooks/{alert}.md)" not in text]


def test_runbooks_look_for_what_is_logged():
    """
    Log lines and Events that a runbook searches for are written by the program in these words.
    """
    text = "".join(page.read_text() for page in (DOCS / "runbooks").glob("*.md"))
    patterns = re.findall(r'grep (?:-E )?"([^"]+)"', text)
    wanted = {words for pattern in patterns for words in pattern.split("|")}
    wanted |= set(re.findall(r"reason=(\w+)", text))
    source = "".join(module.read_text() for module in (ROOT / "webhook").rglob("*.py"))

    assert wanted
    assert not [words for words in wanted if words not in source]


def test_every_chart_value_is_described():
    """
    The chart's README has a row for every value, which docs/ points to.
    """
    values = {value.path for value in documented_values((CHART / "values.yaml").read_text())}
    described = rows("../charts/harbor-cache-webhook/README.md").keys()

    assert values
    assert not values - described
    assert "charts/harbor-cache-webhook/README.md" in (DOCS / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    """
    Each relative link names a file that is there, and a heading that it has.
    """
    dead = []
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)

    assert [] == dead


def test_the_links_of_the_index_reach_every_page():
    """
    Whoever starts at docs/README.md finds every page but the alerts' own.
    """
    index = (DOCS / "README.md").read_text()
    linked = {target.partition("#")[0] for target in LINK.findall(index)}

    assert not {page.name for page in DOCS.glob("*.md")} - linked - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_config_files_in_examples_are_valid(page):
    """
    What is shown as a config file can be used as one.
    """
    for _, text in FENCE.findall(page.read_text()):
        if "kind: Config\n" in text:
            assert parse_config(text, {}).harbor.url


def test_there_are_config_files_in_examples():
    """
    The test before this one finds something to look at.
    """
    blocks = FENCE.findall((DOCS / "configure.md").read_text())

    assert 2 <= sum("kind: Config\n" in text for _, text in blocks)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_chart_values_in_examples_are_valid(page):
    """
    What is shown as values of the chart names values that exist, and a `config` that can be used.
    """
    known = yaml.safe_load((CHART / "values.yaml").read_text()).keys()
    for language, text in FENCE.findall(page.read_text()):
        if language != "yaml" or not re.search(r"^config:", text, re.MULTILINE):
            continue
        values = yaml.safe_load(text)
        config = {"apiVersion": "harbor-cache.io/v1", "kind": "Config", **values["config"]}

        assert values.keys() <= known
        assert parse_config(yaml.safe_dump(config), {})


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_pages_are_finished(page):
    """
    No page speaks of the machine that it was written on, or promises to be written later.
    """
    text = page.read_text()

    assert [] == [word for word in (*MACHINE_PATHS, *UNFINISHED) if word in text]
    assert text.startswith("# ")
