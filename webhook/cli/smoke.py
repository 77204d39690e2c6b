"""
`harbor-cache smoke`: prove in a cluster that images are rewritten.
"""

import asyncio
import logging

from pathlib import Path

import click

from webhook.cli.options import cluster_options, config_option
from webhook.cli.output import log_to_stderr


@click.command(short_help="Prove in a cluster that images are rewritten.")
@config_option()
@click.option(
    "--namespace",
    required=True,
    metavar="NAME",
    help="A namespace with the label harbor-cache.io/mode=enforce.",
)
@cluster_options
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the webhook may take to start.",
)
def smoke(
    *,
    config_file: Path,
    namespace: str,
    kubeconfig: Path | None,
    context: str | None,
    patience: float,
) -> None:
    """
    Prove in a cluster that images are rewritten; `helm test` runs this.

    Asks the API server what it would make of a Pod with one image per configured registry.  That
    is a dry run: nothing is created, nothing is pulled.

    Exits with 1 if an image is not rewritten, and says whether Harbor is the reason.
    """
    from webhook.config import load_config
    from webhook.kube.api import connect
    from webhook.survey.smoke import prove
    from webhook.text import printable

    # What the probes log is said once, in the error.
    log_to_stderr(logging.CRITICAL)
    config = load_config(config_file)

    async def run() -> dict[str, str]:
        async with connect(kubeconfig, context=context) as kube:
            return await prove(kube, config, namespace, patience)

    for image, became in asyncio.run(run()).items():
        click.echo(f"{printable(image)} -> {printable(became)}")
    if config.paused or config.mode == "audit":
        why = "paused: true" if config.paused else "mode: audit"
        click.echo(f"Nothing is rewritten, as the config says ({why}).")
    else:
        click.echo("Images are rewritten.")
