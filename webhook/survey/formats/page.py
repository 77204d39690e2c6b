"""
A survey as one page of HTML that needs nothing else: no network, no script from elsewhere.

Whatever comes from the cluster is escaped by the template engine, and a Content-Security-Policy
lets nothing run but the one script whose hash it names.
"""

import base64
import hashlib

from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from webhook.image.decision import Reason
from webhook.survey import NamespaceReport, Survey
from webhook.survey.explanation import REASONS
from webhook.survey.formats.advice import next_steps
from webhook.text import printable


__all__ = ["as_html"]

_CHARTED: Final = 20
"""
So many bars are read at a glance; the tables have all.
"""


def as_html(survey: Survey) -> str:
    """
    Return *survey* as a page of HTML.
    """
    style, script = _asset("page.css"), _asset("page.js")
    modes = {namespace.name: namespace.mode for namespace in survey.namespaces}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            survey=survey,
            steps=next_steps(survey),
            registries=survey.registries[:_CHARTED],
            most=max((r.uses for r in survey.registries), default=0) or 1,
            namespaces=_charted(survey),
            largest=max((n.would_rewrite + n.kept for n in survey.namespaces), default=0) or 1,
            reasons=[
                (reason, REASONS[Reason(reason)], count)
                for reason, count in survey.reasons.items()
            ],
            modes=modes,
            rewritten_images=len(
                {i.result for w in survey.workloads for i in w.images if i.outcome != "kept"}
            ),
            every_start=sum(r.every_start for r in survey.registries if r.rate_limited),
            style=Markup(style),  # noqa: S704 - our own file.
            script=Markup(script),  # noqa: S704 - our own file.
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def _charted(survey: Survey) -> list[NamespaceReport]:
    """
    Return the namespaces with most image uses.
    """
    busy = [n for n in survey.namespaces if n.would_rewrite + n.kept]
    busy.sort(key=lambda n: (-(n.would_rewrite + n.kept), n.name))
    return busy[:_CHARTED]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("webhook.survey.formats", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["number"] = lambda value: f"{value:,}".replace(",", "\u202f")
    environment.filters["percent"] = lambda part, whole: f"{100 * part / (whole or 1):.2f}%"
    environment.filters["share"] = _share
    return environment


def _share(part: int, whole: int) -> str:
    """
    Return a percentage without decimals that is 0 or 100 only where it is exactly that.
    """
    if not whole:
        return "-"
    percent = round(100 * part / whole)
    if part:
        percent = max(percent, 1)
    if part < whole:
        percent = min(percent, 99)
    return f"{percent}\u202f%"


@cache
def _asset(name: str) -> str:
    return files("webhook.survey.formats").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
