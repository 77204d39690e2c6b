"""
`harbor-cache audit`: a survey of a cluster.
"""

import asyncio
import shutil
import sys

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click


if TYPE_CHECKING:
    from webhook.config import Config
    from webhook.survey import Survey


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="The config file; without one, the four default registries and a placeholder Harbor.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="Which cluster; without it KUBECONFIG, ~/.kube/config, or the Pod's ServiceAccount.",
)
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    multiple=True,
    help="Survey this namespace only; may be given more than once.",
)
@click.option(
    "-o",
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "html"]),
    default="table",
    show_default=True,
    help="How to show it; html is one file to open in a browser, or to print.",
)
@click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path),
    help="Write to this file instead of standard output.",
)
@click.option("--probe", is_flag=True, help="Ask Harbor whether its projects can serve.")
@click.option(
    "--preflight",
    is_flag=True,
    help="Try a rewritten image in each opted-in namespace: a dry run, nothing is created.",
)
def audit(
    config_file: Path | None,
    kubeconfig: Path | None,
    namespaces: tuple[str, ...],
    form: str,
    file: Path | None,
    *,
    probe: bool,
    preflight: bool,
) -> None:
    """
    Survey a cluster: what would be pulled through Harbor, what not, and why.

    Looks at Pods and at the workloads behind them, and changes nothing.  What can't be listed is
    named, and the rest is shown.  Images are decided about as if every namespace enforced and
    Harbor were available.

    \b
      harbor-cache audit --config harbor-cache.yaml
      harbor-cache audit --config harbor-cache.yaml --preflight --probe -o html --output audit.html

    Exit codes: 0 done, 1 the cluster can't be asked, 2 a mistake in the usage or the config.
    """
    from webhook.config import default_config, load_config
    from webhook.errors import HarborCacheError
    from webhook.process.whole_file import write_whole
    from webhook.text import printable

    config = load_config(config_file) if config_file else default_config()
    with _progress() as progress:
        survey = asyncio.run(
            _survey(config, kubeconfig, namespaces, progress, probe=probe, preflight=preflight)
        )
    text = _shown(survey, form, color=file is None and form == "table" and sys.stdout.isatty())
    if file is None:
        click.echo(text, nl=False)
    else:
        try:
            write_whole(file, text)
        except OSError as error:
            raise HarborCacheError(f"{file}: {error.strerror}") from error
    for unseen in survey.unseen:
        click.echo(f"Not seen: {printable(unseen.what)}: {printable(unseen.why)}", err=True)


async def _survey(
    config: "Config",
    kubeconfig: Path | None,
    namespaces: tuple[str, ...],
    progress: Callable[[str, int], None],
    *,
    probe: bool,
    preflight: bool,
) -> "Survey":
    from webhook.kube.api import connect
    from webhook.survey.listing import survey as list_cluster
    from webhook.survey.preflight import preflight as try_images
    from webhook.survey.probing import probe_briefly

    policy = config.policy
    async with connect(kubeconfig) as kube:
        survey = await list_cluster(kube, kube.url, policy, namespaces, progress)
        if preflight:
            progress("dry runs", 0)
            survey.preflight = await try_images(kube, survey, policy)
    if probe:
        progress("Harbor's projects", 0)
        _, survey.probes = await probe_briefly(config)
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
