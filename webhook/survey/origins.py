"""
From where the images of a live Pod come, and what they were before.
"""

from collections.abc import Iterator

from webhook.errors import InvalidReferenceError
from webhook.image.decision import Rewrite, rewrite_by_rules
from webhook.image.reference import Reference
from webhook.image.rules import Rules
from webhook.pod.model import RECORD_PREFIX, Place, Pod, PodSpec


__all__ = ["put_originals"]


def put_originals(pod: Pod, rules: Rules) -> Iterator[tuple[tuple[Place, int], str]]:
    """
    Put recorded originals in their places in *pod*, and yield from where each image comes now.

    That is ``cached``, ``direct`` or ``restored``.  A record counts only where the rules make of
    it just what stands there, or where it is what stands there: records prove nothing, and anyone
    may write one.
    """
    spec = pod.spec or PodSpec()
    records = (pod.metadata.annotations if pod.metadata else None) or {}
    for place, containers in (
        (Place.CONTAINERS, spec.containers),
        (Place.INIT_CONTAINERS, spec.init_containers),
        (Place.EPHEMERAL_CONTAINERS, spec.ephemeral_containers),
    ):
        for index, container in enumerate(containers or ()):
            image = container.image or ""
            record = records.get(RECORD_PREFIX + container.name)
            state = "cached" if _on_harbor(image, rules) else "direct"
            if record is not None:
                decision = rewrite_by_rules(record, rules)
                if isinstance(decision, Rewrite) and decision.result == image:
                    container.image = record
                elif isinstance(decision, Rewrite) and record == image:
                    state = "restored"
            yield (place, index), state
    for index, volume in enumerate(spec.volumes or ()):
        reference = (volume.image.reference if volume.image else None) or ""
        yield (Place.VOLUMES, index), "cached" if _on_harbor(reference, rules) else "direct"


def _on_harbor(image: str, rules: Rules) -> bool:
    try:
        return rules.leads_to_harbor(Reference.parse(image))
    except InvalidReferenceError:
        return False
