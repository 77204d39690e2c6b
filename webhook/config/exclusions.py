"""
Which Pods are left alone: entries of `excludeOwners`, `excludePods` and `placeholders`.

An entry that can match nothing is refused: whoever wrote it believes that it protects something.
"""

import re

from typing import Annotated, Final

from pydantic import AfterValidator

from webhook.pod.selector import Selector


_GROUP: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII
)
_KIND: Final = re.compile(r"[A-Z][A-Za-z0-9]*", re.ASCII)
_VERSION: Final = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]+)?", re.ASCII)

# Groups without a dot are Kubernetes' own: a custom resource's group must have one.
_OWN_GROUPS: Final = {"apps", "autoscaling", "batch", "extensions", "policy"}
_OWN_KINDS: Final = {
    "apps": {"ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"},
    "batch": {"CronJob", "Job"},
}
_CORE_KINDS: Final = {
    "ConfigMap",
    "Endpoints",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
}
_FORMS: Final = (
    "an API group (kubevirt.io), Kind.group (StatefulSet.apps) or a core Kind (Service)"
)


def _check_owner(owner: str) -> str:
    if "*" in owner:
        raise ValueError(f"{owner!r}: there are no wildcards; write {_FORMS}")
    if "/" in owner:
        group = owner.partition("/")[0]
        advice = f"write {group!r}" if _GROUP.fullmatch(group) else f"write {_FORMS}"
        raise ValueError(f"{owner!r}: leave the version out; {advice}")
    kind, _, group = owner.partition(".") if owner[:1].isupper() else ("", "", owner)
    if (kind and not _KIND.fullmatch(kind)) or (group and not _GROUP.fullmatch(group)):
        raise ValueError(f"{owner!r} is no owner of Pods; write {_FORMS}")
    if owner.endswith(".") or not owner:
        raise ValueError(f"{owner!r} is no owner of Pods; write {_FORMS}")
    if _VERSION.fullmatch(group.partition(".")[0]):
        raise ValueError(f"{owner!r}: leave the version out; write {_FORMS}")
    if group:
        _check_group(owner, kind, group)
    elif kind not in _CORE_KINDS:
        homes = [group for group, kinds in _OWN_KINDS.items() if kind in kinds]
        raise ValueError(
            f"{owner!r} is no kind of the core group; write {kind}.{homes[0] if homes else 'group'}"
        )
    return owner


def _check_group(owner: str, kind: str, group: str) -> None:
    last = group.rpartition(".")[2]
    if "." not in group and group not in _OWN_GROUPS:
        advice = owner.lower() if kind else _FORMS
        raise ValueError(f"{owner!r}: there is no API group {group!r}; write {advice}")
    if "." in group and last in _OWN_GROUPS:
        raise ValueError(f"{owner!r}: there is no API group {group!r}; write Kind.{last}")
    if kind and kind not in _OWN_KINDS.get(group, {kind}):
        raise ValueError(f"{owner!r}: the API group {group!r} has no kind {kind!r}")


def _check_selector(text: str) -> str:
    Selector.parse(text)
    return text


def _check_placeholder(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError(f"{text!r} can be the image of no container; write its exact text")
    return text


Owner = Annotated[str, AfterValidator(_check_owner)]
"""
An API group, ``Kind.group``, or a ``Kind`` of the core group.
"""

PodSelector = Annotated[str, AfterValidator(_check_selector)]
"""
A label selector, such as ``application=spilo``.
"""

Placeholder = Annotated[str, AfterValidator(_check_placeholder)]
"""
The exact text of an image that an injector replaces later, such as ``auto``.
"""
