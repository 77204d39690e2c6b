"""
From where a Pod's images come now, and what they were before: the one definition of both.

Records prove nothing, since anyone may write one.  A record counts only where the rules alone
make of it what stands there: availability, quarantine, pause and patterns are left out, for they
say what is rewritten next, not what was.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from webhook.errors import InvalidReferenceError
from webhook.image.decision import Rewrite, rewrite_by_rules
from webhook.image.reference import Reference
from webhook.image.rules import Rule, Rules
from webhook.pod.model import (
    RECORD_PREFIX,
    Container,
    ImageField,
    Place,
    Pod,
    PodSpec,
    image_fields,
)


__all__ = [
    "FINISHED",
    "Origin",
    "Recorded",
    "Source",
    "on_harbor",
    "original_of",
    "origins",
    "project_of",
    "recorded",
    "source_of",
    "with_originals",
]

FINISHED: Final = frozenset({"Succeeded", "Failed"})
"""
The phases of a Pod that pulls nothing any more: it counts nowhere.
"""


class Source(StrEnum):
    """
    From where an image comes; of a Pod, the first of these that holds for any of its images.
    """

    RESTORED = "restored"
    """From its registry again: the image is what its record says."""
    CACHED = "cached"
    """From Harbor, out of whichever project."""
    DIRECT = "direct"
    """From elsewhere, as far as records tell since ever."""


class Origin(NamedTuple):
    """
    One image of a Pod.

    Attributes:
        field: where it stands, and what stands there now.
        source: from where that comes.
        original: what it was before it was rewritten; what stands there, where it was not.
    """

    field: ImageField
    source: Source
    original: str


class Recorded(NamedTuple):
    """
    What a record is worth that leads to the image which stands there.

    Attributes:
        rewrite: what the rules make of the record.
        original: what the image goes back to: the record, with the digest that was pinned since.
        moved: the image still points at a former address of Harbor.
        former: the record leads there by rules of before only.
    """

    rewrite: Rewrite
    original: str
    moved: bool = False
    former: bool = False


def origins(pod: Pod, rules: Rules) -> list[Origin]:
    """
    Return from where each image of *pod* comes, in the order of `image_fields`.
    """
    records = (pod.metadata.annotations if pod.metadata else None) or {}
    return list(_origins(pod.spec or PodSpec(), records, rules.for_records))


def with_originals(pod: Pod, found: Iterable[Origin]) -> Pod:
    """
    Return *pod* with what `origins` *found* in its places, so that it is decided on as it came.
    """
    spec = pod.spec or PodSpec()
    originals = {(origin.field.place, origin.field.index): origin.original for origin in found}

    def back(place: Place, containers: tuple[Container, ...] | None) -> Any:
        return containers and tuple(
            [
                replace(container, image=originals.get((place, index), container.image))
                for index, container in enumerate(containers)
            ]
        )

    spec = replace(
        spec,
        containers=back(Place.CONTAINERS, spec.containers),
        init_containers=back(Place.INIT_CONTAINERS, spec.init_containers),
        ephemeral_containers=back(Place.EPHEMERAL_CONTAINERS, spec.ephemeral_containers),
    )
    return replace(pod, spec=spec)


def source_of(found: Iterable[Origin]) -> Source:
    """
    Return from where a whole Pod comes, out of what `origins` *found*.
    """
    sources = {origin.source for origin in found}
    return next((source for source in Source if source in sources), Source.DIRECT)


def recorded(record: str, image: str, rules: Rules) -> Recorded | None:
    """
    Return how *record* leads to *image*, or None if it does not.

    It does where the rules, or those of before, make exactly *image* out of it, at Harbor's host
    or a former one; or *image* but for a digest that a verifier of signatures put in place of the
    tag, or behind it.

    Args:
        record: the original image as it was recorded; empty if there is no record.
        image: what stands in the Pod.
        rules: what rewrites, best `Rules.for_records`.
    """
    if not record:
        return None
    try:
        there = Reference.parse(image)
    except InvalidReferenceError:
        return None
    for each in (rules, *rules.former):
        rewrite = rewrite_by_rules(record, each)
        if not isinstance(rewrite, Rewrite):
            continue
        cached = each.cached(rewrite.original, rewrite.rule)
        if there.path != cached.path or there.domain not in (cached.domain, *each.former_hosts):
            continue
        original = _pinned(record, cached, there)
        if original:
            return Recorded(rewrite, original, there.domain != cached.domain, each is not rules)
    return None


def on_harbor(image: str, rules: Rules) -> bool:
    """
    Tell whether *image* is pulled from Harbor, out of whichever project.
    """
    try:
        return rules.leads_to_harbor(Reference.parse(image))
    except InvalidReferenceError:
        return False


def project_of(image: str, rules: Rules) -> str:
    """
    Return the project that an *image* at Harbor is in; empty if it is in none of the rules'.
    """
    found = _in_project(image, rules)
    return found[1].project if found else ""


def original_of(image: str, rules: Rules) -> str:
    """
    Return what an *image* at Harbor is called at its registry; empty if it is none of ours.

    That is its identity, without a record.  Several names may lead to one image at Harbor, so it
    need not be what once stood in the Pod.
    """
    found = _in_project(image, rules)
    if found is None:
        return ""
    reference, rule = found
    path = reference.path.removeprefix(f"{rule.project}/")
    return str(Reference(rule.host, path, reference.tag, reference.digest))


def _origins(spec: PodSpec, records: Mapping[str, str], rules: Rules) -> Iterator[Origin]:
    for field in image_fields(spec):
        record = "" if field.place is Place.VOLUMES else records.get(RECORD_PREFIX + field.name)
        if on_harbor(field.image, rules):
            found = recorded(record or "", field.image, rules)
            yield Origin(field, Source.CACHED, found.original if found else field.image)
        else:
            back = record and _is_back(record, field.image, rules)
            yield Origin(field, Source.RESTORED if back else Source.DIRECT, field.image)


def _is_back(record: str, image: str, rules: Rules) -> bool:
    """
    Tell whether *image* is what the *record* of an image that was rewritten says.
    """
    if not any(isinstance(rewrite_by_rules(record, r), Rewrite) for r in (rules, *rules.former)):
        return False
    if image == record:
        return True
    try:
        before, now = Reference.parse(record), Reference.parse(image)
    except InvalidReferenceError:
        return False
    same = (before.domain, before.path) == (now.domain, now.path)
    return same and _pinned(record, before, now) == image


def _pinned(record: str, before: Reference, now: Reference) -> str:
    """
    Return *record* as it is after *before* has become *now*; empty if that is another image.

    Kyverno writes the digest behind the tag (and ``latest`` where there was none), sigstore's
    policy-controller in place of it.
    """
    if now.digest == before.digest:
        return record if now.tag == before.tag or (now.digest and not now.tag) else ""
    if before.digest or not now.digest:
        return ""
    if now.tag in (before.tag, "") or (now.tag, before.tag) == ("latest", ""):
        name = record if now.tag else record.removesuffix(f":{before.tag}")
        return f"{name}@{now.digest}"
    return ""


def _in_project(image: str, rules: Rules) -> tuple[Reference, Rule] | None:
    try:
        reference = Reference.parse(image)
    except InvalidReferenceError:
        return None
    if rules.leads_to_harbor(reference):
        for each in (rules, *rules.former):
            for rule in each.rules:
                if reference.path.startswith(f"{rule.project}/"):
                    return reference, rule
    return None
