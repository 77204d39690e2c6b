"""
The JSON Patch (RFC 6902) that makes a Pod pull through Harbor.

A patch that does not apply makes the API server refuse the Pod, whatever the failurePolicy.  So
every operation here is one that can't fail on the Pod it was built from: ``replace`` only where
the member was seen, ``add`` of a member otherwise, no ``test``, no ``remove``, and parents are
created where they are absent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from webhook.image.decision import Reason
from webhook.pod.decision import ImageDecision, records_of
from webhook.pod.model import REWRITTEN_LABEL, Place, PodSpec
from webhook.pod.subject import About, Subject, Texts


__all__ = ["Operation", "build_patch"]

Operation = dict[str, Any]


def build_patch(
    subject: Subject, decisions: Sequence[ImageDecision], pull_secrets: Sequence[str] = ()
) -> list[Operation]:
    """
    Return the operations that put *decisions* into a Pod, with record, label and pull secrets.

    Ephemeral containers get neither record nor label: the API server discards changes of metadata
    that come through ``pods/ephemeralcontainers``.
    """
    rule = Reason.RULE
    changes = [decision for decision in decisions if decision.reason is rule]
    patch = [{"op": "replace", "path": c.field.pointer, "value": c.result} for c in changes]
    records = records_of(decisions)
    lasting = any(c.field.place is not Place.EPHEMERAL_CONTAINERS for c in changes)
    if lasting or records:
        patch += _metadata(subject.about, records)
    if lasting:
        patch += _pull_secrets(subject.spec, pull_secrets)
    return patch


def _metadata(about: About | None, annotations: dict[str, str]) -> list[Operation]:
    labels = {REWRITTEN_LABEL: "true"}
    if about is None:
        value: dict[str, dict[str, str]] = {"labels": labels}
        if annotations:
            value["annotations"] = annotations
        return [{"op": "add", "path": "/metadata", "value": value}]
    return [
        *_members("/metadata/labels", about.labels, labels),
        *_members("/metadata/annotations", about.annotations, annotations),
    ]


def _members(path: str, present: Texts | None, wanted: Mapping[str, str]) -> list[Operation]:
    if not wanted:
        return []
    if present is None:
        return [{"op": "add", "path": path, "value": wanted}]
    known = dict(present)
    return [
        {"op": "add", "path": f"{path}/{_escape(key)}", "value": value}
        for key, value in wanted.items()
        if known.get(key) != value
    ]


def _pull_secrets(spec: PodSpec, wanted: Sequence[str]) -> list[Operation]:
    present = spec.image_pull_secrets
    names = {secret.name for secret in present or ()}
    missing = [{"name": name} for name in dict.fromkeys(wanted) if name not in names]
    if not missing:
        return []
    path = "/spec/imagePullSecrets"
    if present is None:
        return [{"op": "add", "path": path, "value": missing}]
    return [{"op": "add", "path": f"{path}/-", "value": secret} for secret in missing]


def _escape(key: str) -> str:
    """
    Escape a member's name for a JSON Pointer (RFC 6901, section 3).
    """
    return key.replace("~", "~0").replace("/", "~1")
