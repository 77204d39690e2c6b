"""
`harbor-cache explain`: why an image is rewritten or not.
"""

import json

from pathlib import Path
from typing import TYPE_CHECKING

import click


if TYPE_CHECKING:
    from webhook.explanation import Explanation


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="The config file; without one, the four default registries and a placeholder Harbor.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object per line with image, outcome, reason and result.",
)
def explain(images: tuple[str, ...], config_file: Path | None, output: str) -> None:
    """
    Say of each IMAGE whether it would be pulled through Harbor, and why.

    Harbor is taken as available.

    \b
      harbor-cache explain nginx:1.27 quay.io/prometheus/node-exporter
      harbor-cache explain --config harbor-cache.yaml -o json ghcr.io/acme/app
    """
    from webhook.availability import Availability
    from webhook.config import default_config, load_config
    from webhook.explanation import explain_image

    config = load_config(config_file) if config_file else default_config()
    availability = Availability.of_all(tuple(rule.project for rule in config.rules.rules))
    for position, image in enumerate(images):
        explanation = explain_image(image, config, availability)
        if output == "json":
            click.echo(json.dumps(explanation.as_json()))
        else:
            if position:
                click.echo()
            _show(explanation)


def _show(explanation: "Explanation") -> None:
    from webhook.text import printable

    click.secho(printable(explanation.image), bold=True)
    for heading, text in explanation.as_lines():
        click.echo(f"  {heading:<11} {text}")
