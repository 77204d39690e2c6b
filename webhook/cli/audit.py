"""
`harbor-cache audit`: a survey of a cluster.
"""

import asyncio
import logging
import shutil
import sys
import tempfile

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from webhook.cli.options import (
    cluster_options,
    config_or_release_option,
    output_file_option,
    output_option,
)
from webhook.cli.output import log_to_stderr, write_document


if TYPE_CHECKING:
    from webhook.survey import Survey


@click.command()
@config_or_release_option
@cluster_options
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NAME",
    help="Survey this namespace only; may be given more than once.",
)
@output_option(
    *("table", "json", "csv", "html"),
    text="How to show it; html is one file to open in a browser, or to print.",
)
@output_file_option
@click.option(
    "--cluster-name",
    metavar="NAME",
    help="What to call the cluster, instead of its name in the kubeconfig.",
)
@click.option("--probe", is_flag=True, help="Ask Harbor whether its projects can serve.")
@click.option(
    "--preflight",
    is_flag=True,
    help="Try a rewritten image in each opted-in namespace (a dry run, nothing is created), and "
    "look at how nodes pull.",
)
def audit(
    config_file: Path | None,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    output: str,
    output_file: Path | None,
    cluster_name: str | None,
    *,
    probe: bool,
    preflight: bool,
) -> None:
    """
    Survey a cluster: what would be pulled through Harbor, what not, and why.

    Looks at Pods and at the workloads behind them, and changes nothing.  Finished Pods count
    nowhere.  What can't be listed is named, and the rest is shown.  Images are decided about as
    if every namespace enforced and Harbor were available, by the config of the installed release,
    which is read from the cluster, or by --config.

    \b
      harbor-cache audit
      harbor-cache audit --config harbor-cache.yaml --context staging
      harbor-cache audit --preflight --probe -o html --output-file audit.html

    Exit codes: 0 done, 1 the cluster can't be asked, or lets nothing be listed, 2 a mistake in
    the usage or the config.
    """
    from webhook.text import printable

    log_to_stderr(logging.CRITICAL)
    with _progress() as progress:
        survey = asyncio.run(
            _survey(
                config_file,
                kubeconfig,
                context,
                namespaces,
                progress,
                probe=probe,
                preflight=preflight,
            )
        )
    survey.name = cluster_name or survey.name
    color = output_file is None and output == "table" and sys.stdout.isatty()
    if survey.placeholder:
        click.echo(
            f"Warning: no --config, and {printable(survey.placeholder)}. So this is judged by a "
            f"placeholder, {survey.harbor}, and the four default registries.",
            err=True,
        )
    text = _shown(survey, output, color=color)
    if output == "table" and output_file is None:
        click.echo(text, nl=False, color=color)
    else:
        write_document(text, output_file)
    for unseen in survey.unseen:
        click.echo(f"Not seen: {printable(unseen.what)}: {printable(unseen.why)}", err=True)


async def _survey(
    config_file: Path | None,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    progress: Callable[[str, int], None],
    *,
    probe: bool,
    preflight: bool,
) -> "Survey":
    from webhook.config import load_config
    from webhook.kube.api import connect
    from webhook.survey.listing import survey as list_cluster
    from webhook.survey.preflight import node_pulls
    from webhook.survey.preflight import preflight as try_images
    from webhook.survey.probing import probe_briefly
    from webhook.survey.release import FoundConfig, config_of_cluster

    # A mistake in the file is told before a cluster is asked.
    given = FoundConfig(load_config(config_file), str(config_file)) if config_file else None
    with tempfile.TemporaryDirectory(prefix="harbor-cache-") as directory:
        async with connect(kubeconfig, context=context) as kube:
            found = given or await config_of_cluster(kube, Path(directory))
            policy = found.config.policy
            survey = await list_cluster(kube, kube.url, policy, namespaces, progress)
            survey.name = kube.name
            survey.source, survey.placeholder = found.source, found.placeholder
            if preflight:
                progress("dry runs", 0)
                survey.preflight = await try_images(kube, survey, policy)
                progress("nodes", 0)
                survey.nodes = await node_pulls(kube, survey.unseen)
        if probe:
            progress("Harbor's projects", 0)
            _, survey.probes = await probe_briefly(found.config)
    return survey


def _shown(survey: "Survey", form: str, *, color: bool) -> str:
    if form == "json":
        from webhook.survey.formats.document import as_json

        return as_json(survey)
    if form == "csv":
        from webhook.survey.formats.sheet import as_csv

        return as_csv(survey)
    if form == "html":
        from webhook.survey.formats.page import as_html

        return as_html(survey)
    from webhook.survey.formats.table import as_table

    width = shutil.get_terminal_size().columns if color else None
    return as_table(survey, width, color=color)


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """
    Yield what shows on a terminal how far the survey is, and does nothing elsewhere.
    """
    if not sys.stderr.isatty():
        yield lambda _what, _count: None
        return
    from rich.console import Console

    from webhook.text import printable

    console = Console(stderr=True)
    with console.status("Asking the cluster ...") as status:

        def show(what: str, count: int) -> None:
            words = f"{count} {what}" if count else what
            status.update(f"Looking at {printable(words)}".replace("[", r"\["))

        yield show
