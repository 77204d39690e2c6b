"""
The command line: ``python -m certs``, and ``harbor-cache certs``.
"""

import datetime as dt
import json
import re
import sys

from ipaddress import ip_address
from pathlib import Path
from typing import Final

import click

from certs.authority import service_names
from certs.bundle import CertificateError, fingerprint, names_of
from certs.inspection import collect, judge
from certs.issue import issue_into


__all__ = ["main"]

# RFC 1123, section 2.1, with a wildcard for the first label (RFC 9525, section 6.3).
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.ASCII)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """
    Make certificates for development, and see what is served.

    On a cluster the controller makes and renews them by itself (tls.mode: self-managed).
    """


@main.command(short_help="Write an authority and a serving pair, for development.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--service",
    default="harbor-cache-webhook",
    show_default=True,
    help="The Service that API servers call.",
)
@click.option("--namespace", default="harbor-cache", show_default=True, help="Its namespace.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    default=("localhost", "127.0.0.1", "::1"),
    show_default=True,
    help="A further DNS name or IP address; may be repeated, and replaces the default.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=90,
    show_default=True,
    help="How long the serving certificate lives.",
)
@click.option("--force", is_flag=True, help="Overwrite a serving pair that is there.")
def issue(
    directory: Path,
    service: str,
    namespace: str,
    hosts: tuple[str, ...],
    days: int,
    *,
    force: bool,
) -> None:
    """
    Write a certificate authority and a serving pair into DIRECTORY, for development.

    \b
    ca.crt   what API servers and curl have to trust
    ca.key   the authority's key: keep it, or remove it when it is of no more use
    tls.crt  for harbor-cache serve --tls-cert
    tls.key  for harbor-cache serve --tls-key

    An authority that is in DIRECTORY already signs the new pair.  Keys can be read by their
    owner alone, and belong into no repository.
    """  # noqa: D301 - click's mark for lines that stay as they are.
    names, addresses = list(service_names(service, namespace)), []
    for host in hosts:
        try:
            addresses.append(ip_address(host))
        except ValueError:
            if not _DNS_NAME.fullmatch(host):
                raise click.BadParameter(
                    f"{host!r} is neither a DNS name nor an IP address",
                    param_hint="--host",
                ) from None
            names.append(host)
    try:
        issued = issue_into(
            directory,
            names,
            addresses,
            lifetime=dt.timedelta(days=days),
            now=dt.datetime.now(dt.UTC),
            overwrite=force,
        )
    except CertificateError as error:
        raise click.ClickException(str(error)) from None
    certificate = issued.pair.certificate
    click.echo(
        f"{directory}/ca.crt   {'new' if issued.new_authority else 'as it was'}\n"
        f"{directory}/tls.crt  for {', '.join(names_of(certificate))}\n"
        f"  until {certificate.not_valid_after_utc:%Y-%m-%d}, SHA-256 {fingerprint(certificate)}"
    )


@main.command(short_help="Show certificates: what is served or stored, until when.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to show it.",
)
def inspect(targets: tuple[str, ...], output: str) -> None:
    """
    Show what certificates are served or stored, who signed them, and until when they last.

    TARGET is HOST:PORT (what is served there), a directory or a file with PEM, or - or a file
    with what kubectl get -o yaml or -o json prints of Secrets and webhook configurations.  With
    several, each serving certificate is held against the authorities found in all of them.

    \b
    harbor-cache certs inspect localhost:10250 ca.crt
    kubectl get secret,mutatingwebhookconfiguration -n harbor-cache -o yaml |
      harbor-cache certs inspect -

    Exit code 1: something has expired, is damaged, does not match its key, is not for the HOST
    that was asked, or is signed by none of the authorities given.  Keys are never shown.
    """  # noqa: D301 - click's mark for lines that stay as they are.
    try:
        materials = [material for target in targets for material in collect(target)]
    except CertificateError as error:
        raise click.ClickException(str(error)) from None
    findings = judge(materials, dt.datetime.now(dt.UTC))
    for finding in findings:
        if output == "json":
            shown = {"place": finding.place, **finding.facts, "problems": finding.problems}
            click.echo(json.dumps(shown))
            continue
        click.echo(finding.place)
        for name, value in finding.facts.items():
            click.echo(f"  {name:<10} {value}")
        for problem in finding.problems:
            click.echo(f"  {'PROBLEM':<10} {problem}")
    if any(finding.problems for finding in findings):
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m certs")
