"""
`harbor-cache serve`: the webhook.
"""

import asyncio
import importlib
import sys

from pathlib import Path

import click

from webhook.cli.options import FILE, PORT, config_option, ops_port_option


@click.command(short_help="Answer admission reviews over TLS (the webhook).")
@config_option("The config file; read again when it changes.")
@click.option(
    "--tls-cert",
    required=True,
    type=FILE,
    metavar="FILE",
    help="The serving certificate and its chain (PEM); may appear later.",
)
@click.option(
    "--tls-key",
    required=True,
    type=FILE,
    metavar="FILE",
    help="The certificate's key (PEM); may appear later.",
)
@click.option(
    "--host",
    default="::",
    show_default=True,
    metavar="ADDRESS",
    help="The address to listen on; :: is every one, IPv4 and IPv6.",
)
@click.option(
    "--port",
    type=PORT,
    default=10250,
    show_default=True,
    metavar="PORT",
    help="The port for admission reviews.",
)
@ops_port_option
@click.option(
    "--quarantine",
    type=FILE,
    metavar="FILE",
    help="The file with images that Harbor could not serve (written by the controller).",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="How long reviews are still answered after SIGTERM.",
)
def serve(
    config_file: Path,
    tls_cert: Path,
    tls_key: Path,
    host: str,
    port: int,
    ops_port: int,
    quarantine: Path | None,
    drain_seconds: float,
) -> None:
    """
    Answer admission reviews over TLS (the webhook).

    The config, the TLS pair and the quarantine are read again when they change; a bad new file is
    refused and logged, and the last good one stays in force.  Logs are JSON on standard output.

    Exits with 0 after SIGTERM, with 2 if the config can't be used.
    """
    _import_structlog_alone()
    from webhook.process.logs import setup_logging
    from webhook.server.main import Options
    from webhook.server.main import serve as run

    options = Options(
        config=config_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        host=host,
        port=port,
        ops_port=ops_port,
        quarantine=quarantine,
        drain_seconds=drain_seconds,
    )
    setup_logging()
    asyncio.run(run(options))


def _import_structlog_alone() -> None:
    """
    Import structlog without rich, which its console renderer would load: 4 MiB in every replica.
    """
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # Python's way to say "not to be had".
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
