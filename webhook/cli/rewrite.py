"""
`harbor-cache rewrite`: manifests in, manifests out, with only images changed.
"""

import re
import sys

from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import click

from webhook.cli.options import config_or_defaults_option


if TYPE_CHECKING:
    from webhook.manifests import Rewritten

_STDIN = "-"


class _UnreadableError(click.ClickException):
    """
    A file can't be read, or is no manifest.
    """

    exit_code = 2


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...|-]")
@config_or_defaults_option
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="[KIND:]PATH",
    help="Where another kind holds an image, a Pod template or a Pod spec, "
    "such as spec.steps[].image or Workflow:spec.template; may be given more than once.",
)
@click.option("--diff", is_flag=True, help="Show a unified diff instead of the manifests.")
@click.option(
    "--check",
    is_flag=True,
    help="Write no manifests: list what would change, and exit with 1 if anything would.",
)
def rewrite(
    files: tuple[str, ...],
    config_file: Path | None,
    paths: tuple[str, ...],
    *,
    diff: bool,
    check: bool,
) -> None:
    """
    Rewrite the images in manifests, as an admission would, and change nothing else.

    Reads YAML or JSON (streams and lists too) from each FILE, or from standard input, and writes
    it to standard output.  Comments, order, quoting and anchors stay.  Pods, and the templates in
    Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs, CronJobs and
    PodTemplates are looked at; other kinds only where --path says so.  Harbor is taken as
    available.

    \b
      helm template . | harbor-cache rewrite --config harbor-cache.yaml | kubectl apply -f -
      harbor-cache rewrite --config harbor-cache.yaml --diff deploy/*.yaml
      harbor-cache rewrite --config harbor-cache.yaml --check deploy/*.yaml

    Exit codes: 0 done, 1 something would change (--check), 2 a file can't be read.
    """
    from webhook.config import default_config, load_config
    from webhook.errors import ManifestError
    from webhook.image.availability import Availability
    from webhook.manifests import parse_path, rewrite_text

    config = load_config(config_file) if config_file else default_config()
    availability = Availability.of_all(tuple(rule.project for rule in config.rules.rules))
    policy = config.policy
    results: list[tuple[str, str, Rewritten]] = []
    try:
        places = tuple(parse_path(path) for path in paths)
    except ManifestError as error:
        raise click.UsageError(str(error)) from error
    if not files and sys.stdin.isatty():
        raise click.UsageError("Name a file, or pipe manifests in.")
    for name in files or (_STDIN,):
        text = _read(name)
        try:
            results.append((name, text, rewrite_text(text, policy, availability, places)))
        except ManifestError as error:
            raise _UnreadableError(f"{_shown(name)}: {error}") from error
    if config.paused:
        click.echo("Note: the config says paused: true, so nothing is rewritten.", err=True)

    output = sys.stdout.buffer
    for piece in _output(results, diff=diff, check=check):
        output.write(piece.encode())
    output.flush()
    if check and any(result.changes for _, _, result in results):
        raise SystemExit(1)


def _output(
    results: list[tuple[str, str, "Rewritten"]], *, diff: bool, check: bool
) -> Iterator[str]:
    for name, text, result in results:
        if diff:
            yield from _diff(name, text, result.text)
        elif check:
            for change in result.changes:
                yield (
                    f"{_shown(name)}:{change.line}:{change.column}: "
                    f"{change.image} → {change.result}\n"
                )
    if diff or check:
        return
    previous = ""
    for _, _, result in results:
        if previous:
            yield _separator(previous, result.text)
        yield result.text
        previous = result.text or previous


def _separator(before: str, after: str) -> str:
    """
    Return what keeps two files apart in one stream, and nothing where they are apart already.
    """
    newline = "" if before.endswith("\n") else "\n"
    if after.startswith("---"):
        return newline
    return f"{newline}...\n" if after.startswith("%") else f"{newline}---\n"


def _diff(name: str, before: str, after: str) -> Iterator[str]:
    lines = unified_diff(
        _lines(before),
        _lines(after),
        f"a/{name.lstrip('/')}",
        f"b/{name.lstrip('/')}",
    )
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    # Not splitlines(), which breaks at form feeds and the like as well.
    return [line for line in re.split(r"(?<=\n)", text) if line]


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == _STDIN else Path(name).read_bytes()
    except OSError as error:
        raise _UnreadableError(f"{_shown(name)}: {error.strerror}") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise _UnreadableError(
            f"{_shown(name)}: line {line}, column {column}: is not UTF-8"
        ) from error


def _shown(name: str) -> str:
    from webhook.text import printable

    return "standard input" if name == _STDIN else printable(name)
