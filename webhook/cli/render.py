"""
`harbor-cache render`: what goes on the VM and on the nodes.
"""

from pathlib import Path
from typing import Final

import click

from webhook.cli.options import config_option


_KINDS: Final = {
    "harbor": "Harbor on its VM: harbor.yml, passwords, unit, playbook.",
    "traefik": "Traefik in front of Harbor, with a certificate by ACME.",
    "dex": "Login by dex: static client, its secret, helmfile values.",
    "containerd": "hosts.toml for nodes: trust in Harbor's CA, mirrors.",
    "docker": "Trust in Harbor's CA for Docker.",
    "nodes": "k3s, RKE2, Talos, CRI-O; pulls side by side for every kubelet.",
    "certs": "A CA and a certificate for a Harbor without a public one.",
}


@click.group(short_help="Write out what goes on the VM and on the nodes.")
def render() -> None:
    """
    Write out what goes on the VM and on the nodes, from the config file.

    Each kind goes into a folder of its own; keep the folders side by side, as the playbook expects
    them.  Nothing is overwritten without --force, and with it, secrets stay as they are.
    """


def _render(kind: str, config_file: Path, out: Path, *, force: bool) -> None:
    from webhook.config import load_config
    from webhook.render import certificates, files, write

    config = load_config(config_file)
    wanted = (
        certificates(config, out) if kind == "certs" else files(kind, config, config_file.parent)
    )
    for written in write(wanted, out, force=force):
        click.echo(f"{'kept   ' if written.kept else 'written'}  {written.path}")


def _command(kind: str, what: str) -> click.Command:
    @click.command(kind, help=what, short_help=what)
    @config_option(
        "The config file, the same as the webhook's; its section vm is for this command."
    )
    @click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        metavar="DIR",
        help="Where the files go; made if it is not there.",
    )
    @click.option("--force", is_flag=True, help="Overwrite what is there, but for secrets.")
    def command(config_file: Path, out: Path, force: bool) -> None:  # noqa: FBT001
        _render(kind, config_file, out, force=force)

    return command


for _kind, _what in _KINDS.items():
    render.add_command(_command(_kind, _what))
