"""
Entries of `include`, `exclude` and `canary`: what no repository of a registry is called is refused.

A pattern is walked through the grammar of repositories (see `webhook.image.reference`) with every
repository at once, as the set of places in the grammar where they may be.
"""

import re

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AfterValidator, ValidationInfo

from webhook.errors import InvalidReferenceError
from webhook.image.reference import DOCKER_HUB, LEGACY_DOCKER_HUB, Reference


__all__ = ["Canary", "Exclude", "Include"]

# Place in the grammar, and kind of character → the next place.  A component begins at "start".
_STEPS: Final = {
    **{(place, "alphanumeric"): "end" for place in ("start", "end", ".", "_", "__", "-")},
    ("end", "."): ".",
    ("end", "_"): "_",
    ("_", "_"): "__",
    ("end", "-"): "-",
    ("-", "-"): "-",
    ("end", "/"): "start",
}
_KINDS: Final = ("alphanumeric", ".", "_", "-", "/")
_ALPHANUMERIC: Final = re.compile(r"[a-z0-9]", re.ASCII)
_TAG_OR_DIGEST: Final = re.compile(r"(?::[^/]*|@.*)$", re.DOTALL)


def _matches_a_repository(pattern: str, *, deep: bool) -> bool:
    """
    Tell whether any repository matches *pattern*; *deep*: any with more than one component.
    """
    places = {("start", False)}
    for character in pattern:
        if character == "*":
            before: set[tuple[str, bool]] = set()
            while before != places:
                before, places = places, places | _next(places, _KINDS)
        elif character == "?":
            places = _next(places, _KINDS)
        else:
            kind = "alphanumeric" if _ALPHANUMERIC.match(character) else character
            places = _next(places, (kind,))
    return any(place == "end" and (slash or not deep) for place, slash in places)


def _next(places: set[tuple[str, bool]], kinds: Iterable[str]) -> set[tuple[str, bool]]:
    return {
        (_STEPS[place, kind], slash or kind == "/")
        for place, slash in places
        for kind in kinds
        if (place, kind) in _STEPS
    }


def _check_pattern(pattern: str, info: ValidationInfo) -> str:
    host: str = info.data.get("host", "")
    hosts = {host, *info.data.get("aliases", ())} - {""}
    hub = host == DOCKER_HUB
    if hub:
        hosts.add(LEGACY_DOCKER_HUB)
    if _leads(pattern, hosts, hub=hub):
        return pattern
    better = _cleaned(pattern, hosts, hub=hub)
    advice = f"write {better!r}" if _leads(better, hosts, hub=hub) else _forms(hub=hub)
    raise ValueError(f"{pattern!r} matches no repository of {host or 'a registry'}; {advice}")


def _check_exclude(pattern: str, info: ValidationInfo) -> str:
    if pattern and not pattern.strip("*"):
        raise ValueError(f"{pattern!r} excludes every repository; leave the registry out instead")
    return _check_pattern(pattern, info)


def _leads(pattern: str, hosts: set[str], *, hub: bool) -> bool:
    first, slash, _ = pattern.partition("/")
    # Docker Hub's namespaces have no dots: that is another registry.
    foreign = slash and hub and "." in first and not set(first) & set("*?")
    return first not in hosts and not foreign and _matches_a_repository(pattern, deep=hub)


def _cleaned(pattern: str, hosts: set[str], *, hub: bool) -> str:
    text = pattern.strip().removeprefix("https://").removeprefix("http://")
    text = text.removeprefix("^").removesuffix("$").replace(".*", "*").replace("\\.", ".").lower()
    for host in hosts:
        text = text.removeprefix(f"{host}/")
    text = _TAG_OR_DIGEST.sub("", text).strip("/")
    return f"library/{text}" if hub and text and "/" not in text and "*" not in text else text


def _forms(*, hub: bool) -> str:
    form = "library/nginx or acme/*" if hub else "acme/app or acme/*"
    return (
        f"write a repository without host, tag and digest, such as {form}; * stands for any"
        " characters, ? for one"
    )


def _check_canary(canary: str, info: ValidationInfo) -> str:
    host = info.data.get("host", "registry.example.com")
    try:
        reference = Reference.parse(f"{host}/{canary}")
    except InvalidReferenceError as error:
        raise ValueError(f"{canary!r} is no image; write one such as library/busybox:1") from error
    if not reference.tag and not reference.digest:
        raise ValueError(f"{canary!r} has no tag; write {canary}:TAG")
    repository = _TAG_OR_DIGEST.sub("", canary.partition("@")[0])
    if reference.path != repository:
        raise ValueError(f"{canary!r} is not in full; write 'library/{canary}'")
    if repository.partition("/")[0] in {host, *info.data.get("aliases", ())}:
        better = canary.partition("/")[2]
        raise ValueError(f"{canary!r} has the registry's host in front; write {better!r}")
    return canary


Include = Annotated[str, AfterValidator(_check_pattern)]
"""
A pattern of repositories.
"""

Exclude = Annotated[str, AfterValidator(_check_exclude)]
"""
A pattern of repositories, not of all.
"""

Canary = Annotated[str, AfterValidator(_check_canary)]
"""
A repository of the registry, with a tag or a digest.
"""
