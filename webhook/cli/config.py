"""
`harbor-cache config`: look at a config file before it is used.
"""

import os
import sys

from pathlib import Path
from typing import Final

import click


_STDIN: Final = "-"


@click.group()
def config() -> None:
    """
    Look at a config file before it is used.
    """


@config.command()
@click.argument("file", required=False, metavar="[FILE|-]")
def validate(file: str | None) -> None:
    """
    Say of a config file what is wrong with it, one sentence per fault.

    Reads FILE, or standard input.  HARBOR_CACHE_... variables count, as they do for the webhook;
    files that the config names are not opened.  What is allowed but unwise is noted.

    \b
      harbor-cache config validate harbor-cache.yaml
      harbor-cache config validate < harbor-cache.yaml

    Exit codes: 0 it can be used, 2 it can't.
    """
    from webhook.config import load_config, parse_config
    from webhook.errors import ConfigError

    if file is None and sys.stdin.isatty():
        raise click.UsageError("Name a file, or pipe one in.")
    if file in (None, _STDIN):
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise ConfigError("standard input: is not UTF-8") from error
        read = parse_config(text, os.environ)
    else:
        read = load_config(Path(str(file)))
    for sentence in read.warnings:
        click.echo(f"Note: {sentence}", err=True)
    count = len(read.registries)
    click.echo(
        f"Good: {count} {'registry' if count == 1 else 'registries'} through {read.harbor.host}."
    )
