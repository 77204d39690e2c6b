"""
`harbor-cache harbor`: what Harbor lacks of the config, making it so, and the proof.
"""

import asyncio
import json
import os
import sys

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from webhook.cli.options import FILE, config_option, output_option


if TYPE_CHECKING:
    from webhook.config import Config
    from webhook.harbor.client import Credentials, HarborClient
    from webhook.provisioning.desired import Desired
    from webhook.provisioning.steps import Plan
    from webhook.provisioning.verify import Verification

F = TypeVar("F", bound=Callable[..., Any])

# Harbor's own front gives up after 60 s, on an upstream that accepts and never answers.
_TIMEOUT: Final = 75.0
_WIDTH: Final = 240
"""
How wide tables are in a file or a pipe, where lines should not be folded.
"""

_PASSWORD_VARIABLE: Final = "HARBOR_PASSWORD"  # noqa: S105 - a name.


def _options(command: F) -> F:
    options = (
        config_option(),
        click.option(
            "--url", help="Where Harbor's API is, if not at harbor.apiUrl or harbor.url."
        ),
        click.option(
            "--username",
            default="admin",
            show_default=True,
            help="An administrator of Harbor; the local one works without OIDC.",
        ),
        click.option(
            "--password-file",
            type=FILE,
            metavar="FILE",
            help=f"A file with the password; else ${_PASSWORD_VARIABLE}, else it is asked for.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def harbor() -> None:
    """
    Set Harbor up as the config says, and prove that it serves.

    \b
      harbor-cache harbor plan --config harbor-cache.yaml
      harbor-cache harbor apply --config harbor-cache.yaml --password-file admin-password
      harbor-cache harbor verify --config harbor-cache.yaml
    """


@harbor.command()
@_options
@output_option("table", "json", text="A table for people, or one JSON object for programs.")
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 2 if there is a difference, 0 if not."
)
@click.pass_context
def plan(
    context: click.Context,
    config_file: Path,
    url: str | None,
    username: str,
    password_file: Path | None,
    output: str,
    *,
    detailed_exitcode: bool,
) -> None:
    """
    Show what `apply` would create and change; nothing is written.

    Exits with 1 if something is in the way that apply refuses to touch.
    """
    config, desired = _load(config_file, url)
    credentials = _credentials(username, password_file)
    made = asyncio.run(_plan(config, desired, credentials))
    if output == "json":
        click.echo(json.dumps(made.as_json(), ensure_ascii=False, indent=2))
    else:
        _show_plan(made)
    if made.refused:
        context.exit(1)
    if detailed_exitcode and not made.is_empty:
        context.exit(2)


@harbor.command()
@_options
@click.option("--yes", is_flag=True, help="Do not ask before anything is written.")
@click.option(
    "--resend-secrets",
    is_flag=True,
    help="Send upstream passwords and the OIDC client secret again; Harbor never shows them, so a"
    " changed one is no difference.",
)
def apply(
    config_file: Path,
    url: str | None,
    username: str,
    password_file: Path | None,
    *,
    yes: bool,
    resend_secrets: bool,
) -> None:
    """
    Create and change what `plan` shows.

    At a terminal the plan is shown first, and you are asked.  Nothing is deleted, and nothing is
    written if anything is in the way.  An apply that broke off is run again.
    """
    config, desired = _load(config_file, url)
    credentials = _credentials(username, password_file)
    ask = not yes and sys.stdin.isatty()
    asyncio.run(_apply(config, desired, credentials, ask=ask, resend=resend_secrets))


@harbor.command()
@_options
@click.pass_context
def verify(
    context: click.Context,
    config_file: Path,
    url: str | None,
    username: str,
    password_file: Path | None,
) -> None:
    """
    Pull one image's manifest through every project, as a node does.

    Needs no administrator; with a password (file or variable) Harbor is asked to check the
    upstream of what failed.  Nodes are everyone; where the config names pullSecrets, private
    projects are pulled from with the robot account's files.
    """
    config, _ = _load(config_file, url, desires=False)
    known = password_file is not None or _PASSWORD_VARIABLE in os.environ
    credentials = _credentials(username, password_file) if known else None
    verification = asyncio.run(_verify(config, credentials))
    _show_proofs(verification)
    if not verification.works:
        context.exit(1)


def _load(config_file: Path, url: str | None, *, desires: bool = True) -> "tuple[Config, Desired]":
    from webhook.config import Harbor, load_config
    from webhook.errors import ConfigError
    from webhook.provisioning.desired import Desired, read_desired

    config = load_config(config_file)
    if url is not None:
        from pydantic import ValidationError

        values = config.harbor.model_dump(by_alias=True) | {"apiUrl": url}
        try:
            config = config.model_copy(update={"harbor": Harbor.model_validate(values)})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(f"--url: {reason}") from error
    return config, read_desired(config) if desires else Desired(config.harbor.host, ())


def _credentials(username: str, password_file: Path | None) -> "Credentials":
    from webhook.errors import ConfigError
    from webhook.harbor.client import Credentials

    if password_file is not None:
        try:
            password = password_file.read_text("utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8"
            raise ConfigError(f"--password-file: {password_file}: {reason}") from error
    else:
        password = os.environ.get(_PASSWORD_VARIABLE, "")
        if not password and sys.stdin.isatty():
            password = click.prompt(f"Password of {username}", hide_input=True, err=True)
    if not password:
        raise ConfigError(
            f"there is no password for {username}: give --password-file or {_PASSWORD_VARIABLE}"
        )
    return Credentials(username, password)


def _client(config: "Config", credentials: "Credentials") -> "HarborClient":
    from webhook.harbor.client import HarborClient
    from webhook.harbor.tls import trust

    return HarborClient(
        config.harbor.base_url,
        tls=trust(config.harbor.ca_file),
        credentials=credentials,
        timeout=_TIMEOUT,
    )


async def _plan(config: "Config", desired: "Desired", credentials: "Credentials") -> "Plan":
    from webhook.provisioning.api import Api
    from webhook.provisioning.apply import plan_for

    async with _client(config, credentials) as client:
        return await plan_for(Api(client), desired)


async def _apply(
    config: "Config",
    desired: "Desired",
    credentials: "Credentials",
    *,
    ask: bool,
    resend: bool,
) -> None:
    from webhook.errors import HarborError
    from webhook.provisioning.api import Api
    from webhook.provisioning.apply import apply as run
    from webhook.provisioning.apply import plan_for

    async with _client(config, credentials) as client:
        api = Api(client)
        made = await plan_for(api, desired, resend=resend)
        if made.refused:
            _show_plan(made)
            raise HarborError("nothing was changed, since something is in the way (see above)")
        if made.read_only and made.writes:
            raise HarborError(f"nothing was changed: {made.notes[-1]}")
        if ask and made.writes:
            _show_plan(made)
            if not click.confirm("Apply this?", err=True):
                raise HarborError("nothing was changed")
        else:
            for note in (*_risks(made), *made.notes):
                click.echo(f"Note: {note}", err=True)
        done = 0
        try:
            async for step in run(api, desired, made):
                done += 1
                click.echo(f"{step.action}d {step.kind} {step.name}")
        except HarborError as error:
            raise HarborError(
                f"{error} ({done} of {len(made.writes)} steps are done; apply again goes on)",
                error.cause,
            ) from error
        click.echo("Harbor is as the config says." if done else "Nothing to do.")


async def _verify(config: "Config", credentials: "Credentials | None") -> "Verification":
    from webhook.errors import HarborError
    from webhook.harbor.account import read_account
    from webhook.harbor.tls import trust
    from webhook.provisioning.api import Api
    from webhook.provisioning.robot_files import read_robot_files
    from webhook.provisioning.verify import verify as run

    robot, unreadable = None, ""
    settings = config.provisioning.robot
    try:
        robot = read_account(config)
    except HarborError as error:
        unreadable = f"the robot account can't be read: {error}"
    if robot is None and not unreadable and settings is not None:
        robot = read_robot_files(settings)
    tls = trust(config.harbor.ca_file)
    if credentials is None:
        return await run(config, tls, robot, unreadable=unreadable)
    async with _client(config, credentials) as client:
        api = Api(client)
        await api.check_is_harbor()
        await api.check_login()
        return await run(config, tls, robot, api, unreadable=unreadable)


def _risks(made: "Plan") -> list[str]:
    return [f"{step.kind} {step.name}: {risk}" for step in made.steps for risk in step.risks]


_STYLES: Final = {"create": "green", "change": "yellow", "keep": "dim", "refuse": "bold red"}


def _show_plan(made: "Plan") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what", "name", "details"):
        table.add_column(heading, overflow="fold")
    for step in made.steps:
        details = [*step.details, *(f"Note: {risk}" for risk in step.risks)]
        table.add_row(
            Text(step.action, style=_STYLES[step.action]),
            Text(step.kind),
            Text(step.name),
            Text("\n".join(details)),
        )
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(table)
    for note in made.notes:
        console.print(Text(f"\nNote: {note}."))
    console.print(Text(_summary(made)))


def _summary(made: "Plan") -> str:
    if made.refused:
        return f"\n{len(made.refused)} in the way: apply changes nothing before that is mended."
    if made.is_empty:
        return "\nNo difference."
    created = sum(step.action == "create" for step in made.writes)
    return f"\n{created} to create, {len(made.writes) - created} to change."


def _show_proofs(verification: "Verification") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "project", "time", "image", "details"):
        table.add_column(heading, overflow="fold")
    proofs = verification.proofs
    for proof in proofs:
        details = f"{proof.cause}: {proof.why}" if proof.cause else proof.why
        table.add_row(
            Text("works", style="green") if proof.works else Text("fails", style="bold red"),
            Text(proof.project),
            Text(f"{proof.seconds:.2f} s"),
            Text(proof.image),
            Text(details),
        )
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(table)
    works = sum(proof.works for proof in proofs)
    console.print(Text(f"\n{works} of {len(proofs)} projects serve."))
    if verification.refused:
        console.print(Text(f"{verification.refused[0].upper()}{verification.refused[1:]}."))
