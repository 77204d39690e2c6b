"""
`harbor-cache controller`: recovery, quarantine and certificates.
"""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from webhook.cli.options import cluster_options, config_option, ops_port_option
from webhook.errors import ConfigError


if TYPE_CHECKING:
    from certs.rotation import Lifetimes


_SETTLING: Final = timedelta(minutes=5)
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@click.command(short_help="Watch over rewritten Pods, and renew the certificates.")
@config_option("The config file, the same as the webhook's; read again when it changes.")
@cluster_options
@click.option(
    "--namespace",
    metavar="NAME",
    help="Where the Secrets, the ConfigMap and the Lease are.  [default: the Pod's own namespace]",
)
@click.option(
    "--ca-secret",
    default="harbor-cache-webhook-ca",
    show_default=True,
    metavar="NAME",
    help="The Secret that holds the certificate authority; only the controller reads it.",
)
@click.option(
    "--tls-secret",
    default="harbor-cache-webhook-tls",
    show_default=True,
    metavar="NAME",
    help="The Secret that holds the serving pair; the webhook mounts it.",
)
@click.option(
    "--webhook-configuration",
    default="harbor-cache-webhook",
    show_default=True,
    metavar="NAME",
    help="The MutatingWebhookConfiguration whose caBundle is kept right.",
)
@click.option(
    "--service",
    default="harbor-cache-webhook",
    show_default=True,
    metavar="NAME",
    help="The webhook's Service; the certificate is made out to its names.",
)
@click.option(
    "--fence",
    metavar="SHA256",
    help="The fingerprint of the rules by which the cluster's policy lets Pods be moved to Harbor."
    "  Where those of the config have another, none is moved there.  [default: not compared]",
)
@click.option(
    "--quarantine-configmap",
    default="harbor-cache-webhook-quarantine",
    show_default=True,
    metavar="NAME",
    help="The ConfigMap of images that Harbor could not serve, in its key quarantine.json.",
)
@click.option(
    "--lease",
    default="harbor-cache-webhook-controller",
    show_default=True,
    metavar="NAME",
    help="The Lease by which one of several controllers is the active one.",
)
@click.option(
    "--host",
    default="::",
    show_default=True,
    metavar="ADDRESS",
    help="Where the ops port listens; :: is every address, IPv4 and IPv6.",
)
@ops_port_option
@click.option(
    "--tls-mode",
    type=click.Choice(["self-managed", "none"]),
    default="self-managed",
    show_default=True,
    help="Issue and renew the webhook's certificates, or leave that to others.",
)
@click.option(
    "--ca-lifetime",
    default="365d",
    show_default=True,
    metavar="DURATION",
    help="How long an authority lives; at least three times as long as a certificate.",
)
@click.option(
    "--certificate-lifetime",
    default="90d",
    show_default=True,
    metavar="DURATION",
    help="How long a serving certificate lives; it is renewed after two thirds of that.",
)
def controller(
    *,
    config_file: Path,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
    ca_secret: str,
    tls_secret: str,
    webhook_configuration: str,
    service: str,
    fence: str | None,
    quarantine_configmap: str,
    lease: str,
    host: str,
    ops_port: int,
    tls_mode: str,
    ca_lifetime: str,
    certificate_lifetime: str,
) -> None:
    """
    Watch over rewritten Pods, and renew the webhook's certificates.

    Pods that wait for a pull that Harbor can't serve are restored to their original image, and
    Pods that wait for their upstream are rescued: moved to Harbor, if it can serve them.  Both in
    place: the same Pod, and nothing that runs is restarted.  An image that Harbor could not serve
    while it was up is quarantined for a while (recovery.quarantineFor).  Of several controllers
    one is active; the others wait for its Lease to end.

    Stops on SIGTERM and SIGINT, and gives the Lease back.
    """
    import asyncio

    from webhook.controller.certificates import Names
    from webhook.controller.main import Options, run_controller
    from webhook.process.logs import setup_logging

    options = Options(
        config=config_file,
        kubeconfig=kubeconfig,
        context=context,
        names=Names(
            namespace=namespace or _own_namespace(),
            ca_secret=ca_secret,
            tls_secret=tls_secret,
            webhook_configuration=webhook_configuration,
            service=service,
        ),
        fence=fence,
        quarantine_configmap=quarantine_configmap,
        lease=lease,
        host=host,
        ops_port=ops_port,
        self_managed=tls_mode == "self-managed",
        lifetimes=_lifetimes(ca_lifetime, certificate_lifetime),
    )
    setup_logging()
    asyncio.run(run_controller(options))


def _lifetimes(authority: str, serving: str) -> "Lifetimes":
    from certs.rotation import Lifetimes
    from webhook.config.base import parse_duration

    try:
        lifetime = timedelta(seconds=parse_duration(serving))
        return Lifetimes(
            authority=timedelta(seconds=parse_duration(authority)),
            serving=lifetime,
            settling=min(_SETTLING, lifetime / 10),
        )
    except ValueError as error:
        raise click.UsageError(f"--ca-lifetime, --certificate-lifetime: {error}") from error


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError("--namespace is needed outside a cluster") from error
