"""
Which registry is cached in which project of Harbor.
"""

import hashlib
import re

from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from webhook.image.reference import DOCKER_HUB, Reference


__all__ = ["Rule", "Rules"]


@dataclass(frozen=True)
class Rule:
    """
    One registry, the project that caches it, and the repositories that this holds for.

    Patterns are matched against the whole repository path (with ``library/`` for Docker Hub's
    official images); ``*`` stands for any characters, slashes included, and ``?`` for one.
    """

    host: str
    project: str
    aliases: tuple[str, ...] = ()
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    when_upstream_down: Literal["rewrite", "keep"] = "rewrite"

    def covers(self, path: str) -> bool:
        """
        Tell whether the repository *path* is rewritten: included, and not excluded.
        """
        if self._exclude is not None and self._exclude.match(path):
            return False
        return self._include is None or self._include.match(path) is not None

    @cached_property
    def _include(self) -> re.Pattern[str] | None:
        return None if "*" in self.include else _any_of(self.include)

    @cached_property
    def _exclude(self) -> re.Pattern[str] | None:
        return _any_of(self.exclude) if self.exclude else None


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # No pattern matches nothing; the empty expression would match everything.
    return re.compile("|".join(translate(pattern) for pattern in patterns) or "(?!)")


@dataclass(frozen=True, eq=False)
class Rules:
    """
    All rules, and the Harbor that they lead to; equal to nothing but itself, so cheap as a key.

    Attributes:
        harbor_host: host[:port] of Harbor, as it stands in rewritten references.
        former_hosts: hosts where Harbor was before a move.
        rules: one per registry; hosts and aliases are unique among them.
        harbor_hosts: every name of Harbor's, former ones and those with the default port included.
        former: rules of before; nothing is rewritten by them, but Pods may still wait for what was.
    """

    harbor_host: str
    rules: tuple[Rule, ...]
    former_hosts: tuple[str, ...] = ()
    former: tuple["Rules", ...] = ()
    _by_host: dict[str, Rule] = field(init=False, repr=False, compare=False)
    harbor_hosts: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_host = {host: rule for rule in self.rules for host in (rule.host, *rule.aliases)}
        object.__setattr__(self, "_by_host", by_host)
        hosts = {name for host in (self.harbor_host, *self.former_hosts) for name in _names(host)}
        object.__setattr__(self, "harbor_hosts", frozenset(hosts))

    @cached_property
    def fingerprint(self) -> str:
        """
        The SHA-256 of where these rules lead, in hexadecimal digits.

        The fence around the controller is rendered from the same rules, and carries the same
        fingerprint; the chart computes it from the same text: Harbor's host, and then one line
        per rule, sorted, of host, project and sorted aliases.
        """
        lines = sorted(
            " ".join((rule.host, rule.project, *sorted(rule.aliases))) for rule in self.rules
        )
        return hashlib.sha256("\n".join((self.harbor_host, *lines)).encode()).hexdigest()

    @cached_property
    def for_records(self) -> "Rules":
        """
        These rules without their include and exclude patterns: what they led to at any time.

        Whoever excludes an image because Harbor can't serve it must not strand the Pods that
        already wait for it.  It opens nothing: what a record leads to is still the image that
        Harbor caches.
        """
        whole = tuple(replace(rule, include=("*",), exclude=()) for rule in self.rules)
        return replace(self, rules=whole)

    def match(self, reference: Reference) -> Rule | None:
        """
        Return the rule for the registry of *reference*, which is matched exactly.

        ``docker.io:443`` and ``Docker.IO`` are other registries than ``docker.io``, to the
        container runtime as to us.
        """
        return self._by_host.get(reference.domain)

    def leads_to_harbor(self, reference: Reference) -> bool:
        """
        Tell whether *reference* points at Harbor already, with or without the explicit port.
        """
        return reference.domain in self.harbor_hosts

    def original(self, reference: Reference, rule: Rule) -> Reference:
        """
        Return *reference* under its registry's main name: the form used as an image's identity.
        """
        path = reference.path
        if rule.host == DOCKER_HUB and "/" not in path:
            # An alias such as registry-1.docker.io, where the grammar fills in nothing.
            path = f"library/{path}"
        return Reference(rule.host, path, reference.tag, reference.digest)

    def cached(self, original: Reference, rule: Rule) -> Reference:
        """
        Return where Harbor serves *original*; tag and digest stay byte for byte.

        ``library/`` is always written: Harbor redirects to it only for endpoints of type
        ``docker-hub``, and a redirect changes the scope of the token.
        """
        path = f"{rule.project}/{original.path}"
        return Reference(self.harbor_host, path, original.tag, original.digest)


def _names(host: str) -> tuple[str, ...]:
    """
    Return *host* with and without its port; the default ports stand for a missing one.
    """
    parts = urlsplit(f"//{host}")
    if parts.port is not None:
        return host, host.rpartition(":")[0]
    return host, f"{host}:443", f"{host}:80"
