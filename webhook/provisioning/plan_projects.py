"""
Registry endpoints and the proxy projects in front of them: what differs.
"""

from typing import Any, Final

from webhook.provisioning.actual import Actual, ActualProject
from webhook.provisioning.desired import DesiredEndpoint, DesiredProject
from webhook.provisioning.plan_storage import storage_text
from webhook.provisioning.steps import (
    ChangeEndpoint,
    ChangeProject,
    CreateEndpoint,
    CreateProject,
    Keep,
    Kind,
    Refuse,
    Step,
)


__all__ = ["endpoint_step", "project_step"]

_OFF: Final = "-1"
_KNOWS_LOCAL_ON_NOT_FOUND: Final = (2, 15)
_WITHOUT: Final = {
    "max_upstream_conn": _OFF,
    "proxy_speed_kb": _OFF,
    "proxy_cache_local_on_not_found": "false",
}
"""
What metadata means where it is unset.
"""


def endpoint_step(desired: DesiredEndpoint, actual: Actual, *, resend: bool) -> Step:
    """
    Compare a registry endpoint; with *resend* its password is sent again.
    """
    name = desired.name
    if desired.type not in actual.adapters:
        known = ", ".join(actual.adapters)
        why = f"this Harbor knows no type {desired.type!r}; set upstream.type to one of {known}"
        return Refuse(kind=Kind.ENDPOINT, name=name, details=(why,))
    held = actual.endpoints.get(name)
    if held is None:
        details = [f"type {desired.type}", desired.url]
        if desired.credentials is not None:
            details.append(f"as {desired.credentials.username}")
        return CreateEndpoint(name=name, details=tuple(details), endpoint=desired)
    if held.get("type") != desired.type:
        why = (
            f"is there with type {held.get('type')} instead of {desired.type}, which Harbor can't"
            " change; set upstream.name to another name, or delete it in Harbor"
        )
        return Refuse(kind=Kind.ENDPOINT, name=name, details=(why,))
    # Harbor asks the same Docker Hub whatever the URL of such an endpoint says.
    if held.get("url") != desired.url and desired.type != "docker-hub":
        why = (
            f"is there for {held.get('url')} instead of {desired.url}; set upstream.name to"
            " another name, or upstream.url to that URL"
        )
        return Refuse(kind=Kind.ENDPOINT, name=name, details=(why,))
    fields, changes = _endpoint_changes(desired, held, resend=resend)
    risks: tuple[str, ...] = ()
    if held.get("status") != "healthy":
        risk = "Harbor reports its upstream as unhealthy"
        if desired.credentials is not None:
            risk += "; if the password was changed, apply with --resend-secrets"
        risks = (risk,)
    if not fields:
        return Keep(kind=Kind.ENDPOINT, name=name, risks=risks)
    return ChangeEndpoint(
        name=name, details=tuple(changes), risks=risks, number=int(held["id"]), fields=fields
    )


def _endpoint_changes(
    desired: DesiredEndpoint, held: dict[str, Any], *, resend: bool
) -> tuple[dict[str, Any], list[str]]:
    """
    Return the fields to send, and what they change.

    The masked secret that Harbor shows is never among them: it would become the secret.
    """
    fields: dict[str, Any] = {}
    changes: list[str] = []
    if bool(held.get("insecure", False)) != desired.insecure:
        fields["insecure"] = desired.insecure
        changes.append(f"insecure: {not desired.insecure} → {desired.insecure}".lower())
    certificate = held.get("ca_certificate", "")
    if certificate.strip() != desired.ca_certificate.strip():
        fields["ca_certificate"] = desired.ca_certificate
        # Both in one request, since Harbor checks the upstream after each.
        fields["insecure"] = desired.insecure
        changes.append(
            "another CA certificate" if desired.ca_certificate else "CA certificate: taken away"
        )
    user = (held.get("credential") or {}).get("access_key", "")
    if desired.credentials is None:
        if user:
            fields |= {"access_key": "", "access_secret": ""}
            changes.append(f"user: {user} → none")
    elif user != desired.credentials.username or resend:
        to = desired.credentials.username
        changes.append("password sent again" if user == to else f"user: {user or 'none'} → {to}")
        fields["credential_type"] = "basic"
        fields["access_key"] = to
        fields["access_secret"] = desired.credentials.password
    return fields, changes


def project_step(desired: DesiredProject, actual: Actual) -> Step:
    """
    Compare a proxy project.
    """
    name = desired.name
    risks: tuple[str, ...] = ()
    if desired.public and desired.endpoint.credentials is not None:
        account = desired.endpoint.credentials.username
        risks = (f"public: shows everyone all that the account {account} may read",)
    if not desired.nodes_may_pull:
        risks = ("private, and the config names no pullSecrets: nodes have no account for it",)
    metadata = _metadata(desired, actual)
    held = actual.projects.get(name)
    if held is None:
        said = {key: value for key, value in metadata.items() if value != _OFF}
        details = (
            f"proxy of {desired.endpoint.name}",
            "public" if desired.public else "private",
            f"quota {storage_text(desired.quota)}",
            *(f"{key} {value}" for key, value in said.items() if key != "public"),
        )
        return CreateProject(
            name=name, details=details, risks=risks, project=desired, metadata=said
        )
    if held.registry_id is None:
        why = (
            "is there and is no proxy project, which Harbor can't change; choose another name in"
            " registries[].project, or delete it in Harbor"
        )
        return Refuse(kind=Kind.PROJECT, name=name, details=(why,))
    endpoint = actual.endpoints.get(desired.endpoint.name)
    if endpoint is None or endpoint["id"] != held.registry_id:
        why = _other_endpoint(desired, held, actual)
        return Refuse(kind=Kind.PROJECT, name=name, details=(why,))
    changes = {
        key: value
        for key, value in metadata.items()
        if held.metadata.get(key, _WITHOUT.get(key)) != value
    }
    if not changes:
        return Keep(kind=Kind.PROJECT, name=name, risks=risks)
    details = tuple(f"{k}: {held.metadata.get(k, 'unset')} → {v}" for k, v in changes.items())
    return ChangeProject(name=name, details=details, risks=risks, metadata=changes)


def _metadata(desired: DesiredProject, actual: Actual) -> dict[str, str]:
    """
    Return what the project's metadata should say, in the keys that this Harbor knows.
    """
    metadata = {"public": "true" if desired.public else "false", **dict(desired.limits)}
    if actual.version is not None and actual.version >= _KNOWS_LOCAL_ON_NOT_FOUND:
        # An image that is gone upstream is still served.
        metadata["proxy_cache_local_on_not_found"] = "true"
    return metadata


def _other_endpoint(desired: DesiredProject, held: ActualProject, actual: Actual) -> str:
    others = actual.endpoints.items()
    name, other = next(
        ((n, e) for n, e in others if e["id"] == held.registry_id), ("an unknown endpoint", {})
    )
    remedy = "choose another name in registries[].project, or delete it in Harbor"
    if (other.get("type"), other.get("url")) == (desired.endpoint.type, desired.endpoint.url):
        remedy = f"set upstream.name to {name}, which is the same upstream"
    return (
        f"is there as a proxy of {name} instead of {desired.endpoint.name}, which Harbor can't"
        f" change; {remedy}"
    )
