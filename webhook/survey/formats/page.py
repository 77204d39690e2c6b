"""
A survey as one page of HTML that needs nothing else: no network, no script from elsewhere.

Whatever comes from the cluster is escaped by the template engine, and a Content-Security-Policy
lets nothing run but the one script whose hash it names.
"""

import base64
import hashlib
import re

from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from webhook.image.decision import Reason
from webhook.survey import NamespaceReport, Survey
from webhook.survey.explanation import REASONS
from webhook.survey.formats.advice import is_public, next_steps
from webhook.survey.formats.figures import headline, share
from webhook.survey.formats.rows import rows
from webhook.text import printable, read_timestamp


__all__ = ["as_html"]

_CHARTED: Final = 20
"""
So many bars are read at a glance; the tables have all.
"""
_NAMED: Final = 3
_PIECE: Final = re.compile(r"[^/@:,\s]{0,32}[/@:,\s]+|[^/@:,\s]{1,32}")
"""
What stays on one line of an image: up to a separator, as far as a line is sure to reach.
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
            rows=rows(survey),
            headline=headline(survey),
            uncovered=_uncovered(survey),
            reasons=[
                (reason, REASONS[Reason(reason)], count)
                for reason, count in survey.reasons.items()
            ],
            modes=modes,
            every_start=sum(r.every_start for r in survey.registries if r.rate_limited),
            style=Markup(style),  # noqa: S704 - our own file.
            script=Markup(script),  # noqa: S704 - our own file.
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def _uncovered(survey: Survey) -> str:
    """
    Say what goes past Harbor because no rule covers its registry, and what could be done.
    """
    gaps = survey.gaps
    if not gaps:
        return "every registry in use has a rule"
    names = [printable(gap.registry, 60) for gap in gaps[:_NAMED]]
    if len(gaps) > _NAMED:
        names.append(f"{len(gaps) - _NAMED} more")
    public = sum(is_public(gap.registry, survey.harbor) for gap in gaps)
    advice = f"{public} of them public: a rule would cover {'it' if public == 1 else 'them'}"
    return (
        f"{', '.join(names)}: {share(sum(gap.uses for gap in gaps), survey.uses)} of image uses"
        f" go past Harbor{'; ' + advice if public else ''}"
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
    environment.filters["share"] = share
    environment.filters["moment"] = _moment
    environment.filters["breakable"] = _breakable
    return environment


def _moment(text: str) -> str:
    """
    Return a timestamp as people write it, in English whatever the locale.
    """
    moment = read_timestamp(text)
    return f"{moment:%A}, {moment.day} {moment:%B} {moment.year}, {moment:%H:%M} UTC"


def _breakable(image: str) -> Markup:
    """
    Return an image, escaped, with places where a line may end; no word of it is broken.
    """
    # A browser would end a line behind a hyphen too, which looks like one that it put there.
    return Markup("<wbr>").join(
        Markup('<span class="whole">{}</span>').format(piece) if "-" in piece else piece
        for piece in _PIECE.findall(printable(image))
    )


@cache
def _asset(name: str) -> str:
    return files("webhook.survey.formats").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
