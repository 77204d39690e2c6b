"""
`harbor-cache status`: the state of an installation, problems first.
"""

import asyncio
import tempfile

from pathlib import Path

import click

from webhook.cli.options import cluster_options, output_option
from webhook.cli.output import write_document


_WELL, _PROBLEMS, _UNSEEN = 0, 1, 2
_SECONDS = 20.0


@click.command(short_help="Say how an installation is, problems first.")
@click.option(
    "-n",
    "--namespace",
    default="",
    metavar="NAME",
    help="Where the release is, if there are several.  [default: the one that there is]",
)
@cluster_options
@output_option("text", "json", text="json: all that was seen, in a documented form.")
@click.pass_context
def status(
    ctx: click.Context, namespace: str, kubeconfig: Path | None, context: str | None, output: str
) -> None:
    """
    Say how an installation is: problems first, each with what to do.

    Reads the release's objects, asks every replica what it knows (through the API server's proxy),
    and changes nothing.

    \b
      harbor-cache status
      harbor-cache status --context production -o json

    Exit codes: 0 all is well, 1 something is wrong, 2 it could not be looked at, in whole or in
    part.
    """
    from webhook.errors import ClusterError
    from webhook.kube.api import connect
    from webhook.survey.status import Facts, judge, look
    from webhook.survey.status.show import as_json, as_text

    async def see(directory: Path) -> Facts:
        async with connect(kubeconfig, _SECONDS, context=context) as kube:
            return await look(kube, namespace, directory)

    try:
        with tempfile.TemporaryDirectory(prefix="harbor-cache-") as directory:
            facts = asyncio.run(see(Path(directory)))
    except ClusterError as error:
        click.echo(f"Error: {error}", err=True)
        ctx.exit(_UNSEEN)
    problems = judge(facts)
    if output == "json":
        write_document(as_json(facts, problems))
    else:
        click.echo(as_text(facts, problems), nl=False)
    ctx.exit(_PROBLEMS if problems else _UNSEEN if facts.unseen else _WELL)
