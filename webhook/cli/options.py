"""
Options that several commands share, each declared once.

Everywhere `-o/--output` is how something is shown, and `--output-file` where it is written.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click


__all__ = [
    "FILE",
    "PORT",
    "cluster_options",
    "config_option",
    "config_or_defaults_option",
    "config_or_release_option",
    "ops_port_option",
    "output_file_option",
    "output_option",
]

F = TypeVar("F", bound=Callable[..., Any])

FILE: Final = click.Path(path_type=Path, dir_okay=False)
"""
A file, which need not be there: what reads it says so in a sentence.
"""

PORT: Final = click.IntRange(0, 65535)
"""
A port to listen on; 0 takes a free one.
"""


def _config(*, required: bool, text: str) -> Callable[[F], F]:
    return click.option(
        "--config", "config_file", type=FILE, required=required, metavar="FILE", help=text
    )


def config_option(text: str = "The config file, the same as the webhook's.") -> Callable[[F], F]:
    """
    Return ``--config`` of a command that can't do without.
    """
    return _config(required=True, text=text)


config_or_defaults_option: Final = _config(
    required=False,
    text="The config file; without one, the four default registries and a placeholder Harbor.",
)
"""
``--config`` of a command that works without a cluster and without a config file.
"""

config_or_release_option: Final = _config(
    required=False,
    text="The config file; without one, that of the release installed in the cluster.",
)
"""
``--config`` of a command that asks a cluster, and finds the config there.
"""


def cluster_options(command: F) -> F:
    """
    Add ``--kubeconfig`` and ``--context``.
    """
    command = click.option(
        "--context", metavar="NAME", help="A context of the kubeconfig, if not the current one."
    )(command)
    return click.option(
        "--kubeconfig",
        type=FILE,
        metavar="FILE",
        help="Which cluster; without it KUBECONFIG, ~/.kube/config, or the Pod's ServiceAccount.",
    )(command)


def output_option(*forms: str, text: str) -> Callable[[F], F]:
    """
    Return ``-o/--output`` with these *forms*, of which the first is the default.
    """
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help=text,
    )


output_file_option: Final = click.option(
    "--output-file",
    type=FILE,
    metavar="FILE",
    help="Write to this file instead of standard output.",
)

ops_port_option: Final = click.option(
    "--ops-port",
    type=PORT,
    default=8080,
    show_default=True,
    metavar="PORT",
    help="The port of /livez, /readyz, /metrics and /status.",
)
