"""
The command line: one module per command.

A command's module is imported only when that command runs.  So `serve` never loads the
Kubernetes client, and `--help` is quick.
"""

import importlib

from typing import Any, Final

import click

from webhook.cli.output import accept_any_encoding
from webhook.errors import ConfigError, HarborCacheError


# Command, which is also the name of its module → one line for --help, in the order of need.
_COMMANDS: Final = {
    "demo": "Show the webhook at work, against a stand-in for Harbor.",
    "explain": "Say why an image is rewritten or not.",
    "audit": "Survey a cluster: what would be rewritten, and why.",
    "status": "Say how an installation is, problems first.",
    "rewrite": "Rewrite the images in manifests, and nothing else in them.",
    "config": "Say what is wrong with a config file.",
    "harbor": "Set Harbor up from the config, and prove that it serves.",
    "render": "Write out what goes on the VM and on the nodes.",
    "certs": "Make certificates for development, and see what is served.",
    "serve": "Answer admission reviews over TLS (the webhook).",
    "controller": "Watch over rewritten Pods, and renew the certificates.",
    "smoke": "Prove in a cluster that images are rewritten (what `helm test` runs).",
}


class _LazyGroup(click.Group):
    """
    A group that knows its commands by name and imports them on use.
    """

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        """
        Run the program, on a terminal of any encoding.
        """
        accept_any_encoding()
        return super().main(*arguments, **keywords)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"webhook.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """
        Run a command, and turn what goes wrong on purpose into plain words and an exit code.

        A mistake in the config file or in the usage is 2, any other trouble 1, Ctrl-C 130.
        """
        try:
            return super().invoke(ctx)
        except HarborCacheError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2 if isinstance(error, ConfigError) else 1)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        except click.Abort:  # Instead of an answer, behind the question.
            click.echo("\nInterrupted.", err=True)
            ctx.exit(130)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="harbor-cache-webhook", prog_name="harbor-cache")
def main() -> None:
    """
    Make Pods pull through a Harbor proxy cache, and never keep a Pod from starting.

    What would become of an image, and of a whole cluster:

    \b
      harbor-cache explain nginx:1.27
      harbor-cache audit --config harbor-cache.yaml

    The smallest config file names Harbor, and caches Docker Hub, gcr.io, k8s.gcr.io and quay.io:

    \b
      apiVersion: harbor-cache.io/v1
      kind: Config
      harbor: {url: "https://harbor-cache.example.com"}

    serve, controller and smoke are what the Helm chart runs.
    """
