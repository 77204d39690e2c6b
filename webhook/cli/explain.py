"""
`harbor-cache explain`: why an image is rewritten or not.
"""

import asyncio
import json
import logging
import os
import re
import tempfile

from pathlib import Path
from typing import TYPE_CHECKING

import click

from webhook.cli.options import cluster_options, config_or_defaults_option, output_option
from webhook.cli.output import log_to_stderr


if TYPE_CHECKING:
    from webhook.config import Config
    from webhook.image.availability import Availability
    from webhook.kube.api import Kube
    from webhook.survey.explanation import Explanation

# Namespaces and Pods are named by DNS subdomains; anything else has no place in a URL.
_NAME = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_POD = re.compile(rf"(?P<namespace>{_NAME})/(?P<name>{_NAME})", re.ASCII)


@click.command()
@click.argument("images", nargs=-1, metavar="IMAGE...")
@config_or_defaults_option
@output_option(
    "text", "json", text="json: one object per line with image, outcome, reason and result."
)
@click.option("--probe", is_flag=True, help="Ask Harbor, instead of taking it as available.")
@click.option("--pod", metavar="NAMESPACE/NAME", help="Explain the images of a live Pod.")
@cluster_options
@click.pass_context
def explain(
    ctx: click.Context,
    images: tuple[str, ...],
    config_file: Path | None,
    output: str,
    pod: str | None,
    kubeconfig: Path | None,
    context: str | None,
    *,
    probe: bool,
) -> None:
    """
    Say of each IMAGE whether it would be pulled through Harbor, and why.

    Harbor is taken as available, unless --probe asks it.  With --pod and without --config, the
    config of the installed release is read from the cluster.

    \b
      harbor-cache explain nginx:1.27 quay.io/prometheus/node-exporter
      harbor-cache explain --config harbor-cache.yaml --probe ghcr.io/acme/app
      harbor-cache explain --pod default/web-0
    """
    from webhook.config import default_config, load_config
    from webhook.image.availability import Availability
    from webhook.survey.explanation import explain_image
    from webhook.text import printable

    if not images and not pod:
        raise click.UsageError("Missing argument 'IMAGE...'.")
    if pod and not _POD.fullmatch(pod):
        raise click.UsageError(f"--pod {printable(pod)}: write NAMESPACE/NAME.")
    if config_file or not pod:
        config = load_config(config_file) if config_file else default_config()
    else:
        directory = ctx.with_resource(tempfile.TemporaryDirectory(prefix="harbor-cache-"))
        config = asyncio.run(_config_of_cluster(kubeconfig, context, Path(directory)))
    availability = Availability.of_all(tuple(rule.project for rule in config.rules.rules))
    states: dict[str, str] = {}
    if probe:
        from webhook.survey.probing import probe_briefly

        log_to_stderr(logging.WARNING)
        availability, results = asyncio.run(probe_briefly(config))
        states = {r.name: f"{r.state} {f'({r.why})' if r.why else ''}".rstrip() for r in results}
    for position, image in enumerate(images):
        explanation = explain_image(image, config, availability)
        if output == "json":
            click.echo(json.dumps(explanation.as_json()))
        else:
            if position:
                click.echo()
            _show(explanation, states)
    if pod:
        asyncio.run(_explain_pod(pod, kubeconfig, context, config, availability, output))


async def _config_of_cluster(
    kubeconfig: Path | None, context: str | None, directory: Path
) -> "Config":
    from webhook.kube.api import connect
    from webhook.survey.release import config_of_cluster
    from webhook.text import printable

    async with connect(kubeconfig, context=context) as kube:
        found = await config_of_cluster(kube, directory)
    if found.placeholder:
        click.echo(
            f"Warning: no --config, and {printable(found.placeholder)}. So this is judged by a "
            f"placeholder, {found.config.harbor.host}, and the four default registries.",
            err=True,
        )
    return found.config


def _show(explanation: "Explanation", states: dict[str, str]) -> None:
    from webhook.survey.formats.figures import color_of
    from webhook.survey.model import HARBOR
    from webhook.text import printable

    click.secho(printable(explanation.image), bold=True)
    for heading, text in explanation.as_lines():
        _line(heading, text, color_of(explanation.reason) if heading == "outcome" else "")
    if states:
        _line(HARBOR, printable(states[HARBOR]), _color_of_state(states[HARBOR]))
        if explanation.rule is not None:
            project = explanation.rule.project
            state = printable(states[project])
            _line("project", f"{project}: {state}", _color_of_state(state))


def _line(heading: str, text: str, color: str = "") -> None:
    """
    Write one line of a block; in *color* on a terminal, unless NO_COLOR forbids it.
    """
    plain = not color or os.environ.get("NO_COLOR")
    click.echo(f"  {heading:<11} {text if plain else click.style(text, fg=color)}")


def _color_of_state(state: str) -> str:
    from webhook.survey.formats.figures import GOOD, WRONG

    return GOOD if state.partition(" ")[0] == "available" else WRONG


async def _mode_of(kube: "Kube", namespace: str, config: "Config") -> str:
    """
    Say what is done in a namespace, as far as that may be seen.
    """
    from webhook.errors import ClusterError
    from webhook.survey.release import CONFIGURATIONS
    from webhook.survey.selectors import find_installation, namespace_mode

    try:
        item = await kube.get(f"/api/v1/namespaces/{namespace}")
        listed = await kube.get(CONFIGURATIONS)
    except ClusterError as error:
        return f"its mode can't be seen ({error})"
    labels = item["metadata"].get("labels") or {}
    installation = find_installation(listed.get("items") or ())
    mode, why = namespace_mode(namespace, labels, installation, config.policy)
    words = {"none": "it has no mode label, so nothing is rewritten there"}.get(mode, mode)
    return f"{words}{f' ({why})' if why else ''}"


async def _explain_pod(
    name: str,
    kubeconfig: Path | None,
    context: str | None,
    config: "Config",
    availability: "Availability",
    output: str,
) -> None:
    """
    Show each image of a live Pod: what it was, what it is, and why.
    """
    from msgspec import convert

    from webhook.kube.api import connect
    from webhook.pod.decision import decide_pod
    from webhook.pod.model import Pod
    from webhook.pod.origin import Source, origins, with_originals
    from webhook.survey.explanation import REASONS
    from webhook.survey.formats.figures import GOOD, LOOK, color_of
    from webhook.text import printable

    namespace, _, own = name.partition("/")
    async with connect(kubeconfig, context=context) as kube:
        item = await kube.get(f"/api/v1/namespaces/{namespace}/pods/{own}")
        mode = await _mode_of(kube, namespace, config)
    pod = convert(item, Pod)
    found = origins(pod, config.rules)
    words = {
        Source.CACHED: "on Harbor",
        Source.DIRECT: "direct",
        Source.RESTORED: "restored to the original",
    }
    colors = {Source.CACHED: GOOD, Source.DIRECT: "", Source.RESTORED: LOOK}
    outcomes = decide_pod(with_originals(pod, found), config.policy, availability)
    if output == "text":
        click.echo(f"{'namespace':<13} {namespace}: {mode}")
    for origin, outcome in zip(found, outcomes, strict=True):
        field, now, source = outcome.field, origin.field.image, origin.source
        if output == "json":
            row = {
                "image": field.image,
                "outcome": outcome.outcome,
                "reason": str(outcome.reason),
                "result": outcome.result,
            }
            extra = {"name": field.name, "current": now, "state": source}
            click.echo(json.dumps({**row, **extra}))
            continue
        click.secho(f"{field.place}/{printable(field.name)}", bold=True)
        _line("state", words[source], colors[source])
        _line("original", printable(field.image))
        _line("current", printable(now))
        text = f"{outcome.outcome} ({outcome.reason}): {REASONS[outcome.reason]}"
        _line("anew", text, color_of(outcome.reason))
