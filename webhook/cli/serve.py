"""
`harbor-cache serve`: the webhook.
"""

import asyncio
import importlib
import sys

from pathlib import Path

import click

from webhook.errors import ConfigError


@click.command()
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="The config file (YAML)."
)
@click.option(
    "--tls-cert",
    required=True,
    type=click.Path(path_type=Path),
    help="The serving certificate and its chain (PEM); may appear later.",
)
@click.option(
    "--tls-key",
    required=True,
    type=click.Path(path_type=Path),
    help="The certificate's key (PEM); may appear later.",
)
@click.option("--host", default="0.0.0.0", show_default=True, help="The address to listen on.")  # noqa: S104
@click.option("--port", default=10250, show_default=True, help="The port for admission reviews.")
@click.option(
    "--ops-port", default=8080, show_default=True, help="The port for health and metrics."
)
@click.option(
    "--quarantine",
    type=click.Path(path_type=Path),
    help="The file with images that Harbor could not serve (written by the controller).",
)
@click.option(
    "--drain-seconds",
    default=15.0,
    show_default=True,
    help="How long reviews are still answered after SIGTERM.",
)
def serve(
    config: Path,
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
        config=config,
        tls_cert=tls_cert,
        tls_key=tls_key,
        host=host,
        port=port,
        ops_port=ops_port,
        quarantine=quarantine,
        drain_seconds=drain_seconds,
    )
    setup_logging()
    try:
        asyncio.run(run(options))
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from error
    except OSError as error:
        click.echo(f"can't listen: {error.strerror or error}", err=True)
        raise SystemExit(1) from error


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
