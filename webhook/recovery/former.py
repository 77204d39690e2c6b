"""
The pairs of registry and project that were in force lately.

Pods that still wait for such a project can be restored after it was renamed, or taken out of the
config.  The controller keeps them as JSON in a ConfigMap of its own; they serve restores only::

    {"version": 1,
     "rules": [{"registry": "docker.io", "project": "proxy.docker.io",
                "aliases": ["registry-1.docker.io"], "until": "2026-11-25T10:00:00Z"}]}
"""

import json

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from webhook.errors import QuarantineError
from webhook.image.reference import is_domain
from webhook.image.rules import Rule, Rules
from webhook.text import read_timestamp, timestamp


__all__ = ["FormerRule", "FormerRules"]

KEPT: Final = timedelta(days=30)
"""
How long a pair is remembered after it was last in force.
"""

MOST: Final = 64
"""
How many pairs are remembered; those that were in force last.
"""

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class FormerRule:
    """
    A registry and the project that cached it, and when that was last so.
    """

    registry: str
    project: str
    aliases: tuple[str, ...]
    until: datetime

    @property
    def rule(self) -> Rule:
        """
        Return the rule that it was, without patterns.
        """
        return Rule(self.registry, self.project, self.aliases)


@dataclass(frozen=True, slots=True)
class FormerRules:
    """
    All pairs that are remembered, those in force included.

    Attributes:
        pairs: the one that was in force last goes first.
        dropped: what could not be read, one sentence each.
    """

    pairs: tuple[FormerRule, ...] = ()
    dropped: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """
        Read what was written; an entry that can't be used is dropped, and told.
        """
        if not text.strip():
            return cls()
        try:
            data = json.loads(text)
            entries = data["rules"] if data.get("version") == _VERSION else None
        except (ValueError, RecursionError, AttributeError, KeyError):
            entries = None
        if not isinstance(entries, list):
            return cls((), ("the former rules can't be read as a whole",))
        pairs: list[FormerRule] = []
        dropped: list[str] = []
        for number, entry in enumerate(entries):
            try:
                pairs.append(_read(entry))
            except QuarantineError as error:
                dropped.append(f"former rule {number}: {error}")
        return cls(tuple(pairs), tuple(dropped))

    def write(self) -> str:
        """
        Return the text that `read` takes, the same for the same pairs.
        """
        rules = [
            {
                "registry": pair.registry,
                "project": pair.project,
                "aliases": list(pair.aliases),
                "until": timestamp(pair.until),
            }
            for pair in self.pairs
        ]
        return json.dumps({"version": _VERSION, "rules": rules}, indent=1) + "\n"

    def with_rules(self, rules: Rules, now: datetime) -> Self:
        """
        Return what is remembered while *rules* are in force at the time *now*.
        """
        current = [FormerRule(r.host, r.project, r.aliases, now) for r in rules.rules]
        there = {(pair.registry, pair.project) for pair in current}
        former = [
            pair
            for pair in self.pairs
            if (pair.registry, pair.project) not in there and pair.until > now - KEPT
        ]
        former.sort(key=lambda pair: pair.until, reverse=True)
        return type(self)((*current, *former)[:MOST])

    def onto(self, rules: Rules) -> Rules:
        """
        Return *rules*, which are in force, with those of before beside them.
        """
        there = {(rule.host, rule.project) for rule in rules.rules}
        former = (pair for pair in self.pairs if (pair.registry, pair.project) not in there)
        return replace(
            rules, former=tuple(replace(rules, rules=(pair.rule,), former=()) for pair in former)
        )


def _read(entry: Any) -> FormerRule:
    """
    Return the pair that *entry* names.

    Raises:
        QuarantineError: if *entry* can't be used.
    """
    if not isinstance(entry, dict):
        raise QuarantineError("is no object")
    registry, project, aliases = entry.get("registry"), entry.get("project"), entry.get("aliases")
    if not isinstance(registry, str) or not is_domain(registry):
        raise QuarantineError("names no registry")
    if not isinstance(project, str) or not project or "/" in project:
        raise QuarantineError("names no project")
    if not _are_domains(aliases):
        raise QuarantineError("has aliases that are no hosts")
    try:
        until = read_timestamp(entry.get("until"))
    except ValueError as error:
        raise QuarantineError("has no time that can be used") from error
    return FormerRule(registry, project, tuple(aliases or ()), until)


def _are_domains(names: Any) -> bool:
    if names is None:
        return True
    return isinstance(names, list) and all(isinstance(n, str) and is_domain(n) for n in names)
