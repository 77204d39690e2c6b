"""
Who, beside Kubernetes itself, looks after a Pod, and may take another image for a mistake.
"""

from collections.abc import Mapping
from typing import Any, Final


__all__ = ["controller_of", "gitops_of", "operator_of"]

_OWN_GROUPS: Final = frozenset({"", "apps", "batch"})
"""
Kubernetes' own controllers: they compare templates, never the Pods that they made.
"""

_GITOPS: Final = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "objectset.rio.cattle.io/id": "Fleet",
    "config.k8s.io/owning-inventory": "Config Sync",
}
"""
Labels and annotations by which tools know what they keep as it stands in Git.
"""


def controller_of(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """
    Return the owner that controls an object, or None.
    """
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            found: Mapping[str, Any] = owner
            return found
    return None


def operator_of(metadata: Mapping[str, Any]) -> str:
    """
    Return ``Kind.group`` of what controls a Pod, or an empty string if that is Kubernetes' own.
    """
    owner = controller_of(metadata) or {}
    group, slash, _ = str(owner.get("apiVersion", "")).partition("/")
    return f"{owner.get('kind')}.{group}" if slash and group not in _OWN_GROUPS else ""


def gitops_of(metadata: Mapping[str, Any]) -> str:
    """
    Return the tool that keeps a Pod, which nothing controls, as it stands in Git; or nothing.
    """
    if controller_of(metadata) is not None:
        return ""
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    return next((tool for mark, tool in _GITOPS.items() if mark in marks), "")
