"""
What is wrong with an installation, from what was seen of it; pure.
"""

import base64
import binascii

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from certs.bundle import Bundle, CertificateError, certificates_in, names_of
from webhook.survey.status.facts import Facts, Name, Problem, Replica
from webhook.text import read_timestamp


__all__ = ["judge"]

_SOON: Final = timedelta(days=3)
_LEASE_SLACK: Final = 60.0
"""
How many seconds a clock may be off before a Lease is called abandoned.
"""
_REFUSED: Final[Mapping[str, Name]] = {
    "config": "config-refused",
    "quarantine": "quarantine-refused",
    "certificate": "certificate-refused",
}
_GONE: Final[Mapping[str, Name]] = {"webhook": "webhook-gone", "controller": "controller-gone"}
_RULES: Final = "harbor-cache.io/rules"
_REINSTALL: Final = "helm upgrade the release with the values that it was installed with"


def judge(facts: Facts) -> list[Problem]:
    """
    Return what is wrong, what explains most first.
    """
    return [
        *_configuration(facts),
        *_config(facts),
        *_deployments(facts),
        *_harbor(facts),
        *_suspended(facts),
        *_fences(facts),
        *_lease(facts),
        *_certificates(facts),
        *_versions(facts),
        *_labels(facts),
    ]


def _configuration(facts: Facts) -> Iterator[Problem]:
    """
    Judge whether the API server asks us, and believes the certificate that it is shown.
    """
    if facts.configuration is None:
        if not any(unseen.what == "the webhook configuration" for unseen in facts.unseen):
            yield Problem(
                "webhook-configuration-gone",
                f"The MutatingWebhookConfiguration {facts.name} is gone: the API server asks nobody, "
                "and nothing is rewritten.",
                _REINSTALL,
            )
        return
    certificates = list(_served(facts))
    for webhook in facts.configuration.get("webhooks") or ():
        name, bundle = webhook.get("name"), (webhook.get("clientConfig") or {}).get("caBundle")
        if not bundle and not _trusts_system(facts):
            yield Problem(
                "ca-bundle-empty",
                f"The caBundle of {name} is empty: the API server trusts no replica, and nothing is "
                "rewritten.",
                "The controller writes it within a minute: see why it does not, in its log "
                f"(kubectl -n {facts.namespace} logs -l app.kubernetes.io/component=controller). "
                "With cert-manager, look at cainjector.",
            )
            return
        if not bundle:
            continue
        for replica, pem in certificates:
            wrong = _distrusted(pem, bundle, f"{facts.name}.{facts.namespace}.svc")
            if wrong:
                yield Problem(
                    "wrong-serving-pair",
                    f"The certificate that {replica.pod} serves is not believed: {wrong}.",
                    f"See what the Secret {facts.name}-tls holds: kubectl -n {facts.namespace} get "
                    "secret,mutatingwebhookconfiguration -o yaml | harbor-cache certs inspect -. "
                    "In self-managed mode, deleting that Secret's data makes the controller issue "
                    "another pair.",
                )
                return
    yield from _expiry(facts)


def _served(facts: Facts) -> Iterator[tuple[Replica, str]]:
    for replica in facts.of("webhook"):
        pem = (replica.status or {}).get("certificate")
        if isinstance(pem, str) and pem:
            yield replica, pem


def _trusts_system(facts: Facts) -> bool:
    """
    Tell whether an empty caBundle is meant: a pair by others, signed by a public authority.
    """
    containers = (
        (facts.deployments.get("controller") or {})
        .get("spec", {})
        .get("template", {})
        .get("spec", {})
        .get("containers", ())
    )
    arguments = [argument for c in containers for argument in c.get("args") or ()]
    annotations = (facts.configuration or {}).get("metadata", {}).get("annotations") or {}
    injected = any(key.startswith("cert-manager.io/inject") for key in annotations)
    return "--tls-mode=none" in arguments and not injected


def _distrusted(pem: str, bundle: str, name: str) -> str:
    """
    Say why the API server does not believe a certificate, or return an empty string.
    """
    try:
        certificate = certificates_in(pem.encode())[0]
        authorities = Bundle.of(certificates_in(base64.b64decode(bundle)))
    except (CertificateError, ValueError, IndexError, binascii.Error) as error:
        return f"it or the caBundle can't be read ({error})"
    if authorities.signer_of(certificate) is None:
        return "none of the authorities in caBundle signed it"
    if name not in names_of(certificate):
        return f"it is not made out to {name}"
    return ""


def _expiry(facts: Facts) -> Iterator[Problem]:
    for replica in facts.of("webhook"):
        until = _moment((replica.status or {}).get("certificateNotAfter"))
        if until is not None and until < facts.now + _SOON:
            verb = "has expired" if until < facts.now else "expires soon"
            yield Problem(
                "certificate-expires",
                f"The certificate that {replica.pod} serves {verb} ({until:%Y-%m-%d %H:%M} UTC).",
                "It is renewed after two thirds of its life: see the log of the controller, or of "
                "cert-manager.",
            )
            return


def _config(facts: Facts) -> Iterator[Problem]:
    if facts.config_problem:
        yield Problem(
            "config-refused",
            f"The config is refused: {facts.config_problem}. Replicas keep the last good one, and "
            "new ones do not start.",
            f"Correct the value, and {_REINSTALL}; `harbor-cache config validate` names every fault.",
        )
        return
    for replica in facts.replicas:
        refused = (replica.status or {}).get("refused") or {}
        for file, name in _REFUSED.items():
            why = refused.get(file)
            if not why:
                continue
            yield Problem(
                name,
                f"{replica.pod} refuses its {file}: {str(why).splitlines()[0]}. It goes by the last "
                "good one.",
                f"Correct what is mounted as {file}; it is read again within two minutes.",
            )
            return


def _deployments(facts: Facts) -> Iterator[Problem]:
    for component, effect in (
        ("webhook", "Where no replica answers, images are kept."),
        ("controller", "Pods that can't pull are not moved, and certificates are not renewed."),
    ):
        deployment = facts.deployments.get(component)
        if deployment is None:
            seen = not any(unseen.what == f"the {component}" for unseen in facts.unseen)
            if seen and (component == "webhook" or facts.policies):
                yield Problem(
                    _GONE[component],
                    f"The Deployment of the {component} is gone. {effect}",
                    _REINSTALL,
                )
            continue
        replicas = facts.of(component)
        troubled = [replica for replica in replicas if replica.trouble]
        silent = [replica for replica in replicas if not replica.trouble and replica.unasked]
        wanted = int(deployment.get("spec", {}).get("replicas", 1))
        usable = len(replicas) - len(troubled)
        if wanted > usable:
            which = "; ".join(f"{r.pod}: {r.trouble}" for r in troubled[:3])
            yield Problem(
                "replica-dead",
                f"{usable} of {wanted} replicas of the {component} work"
                f"{f' ({which})' if which else ': the others have no Pod'}. {effect}",
                f"kubectl -n {facts.namespace} describe pods -l app.kubernetes.io/component="
                f"{component}, and their logs with --previous",
            )
        for replica in silent:
            if "forbidden" not in replica.unasked:
                yield Problem(
                    "replica-silent",
                    f"{replica.pod} does not answer: {replica.unasked}.",
                    f"kubectl -n {facts.namespace} logs {replica.pod}, then delete it",
                )


def _harbor(facts: Facts) -> Iterator[Problem]:
    """
    Judge what webhook replicas know of Harbor and its projects; the controller where there is none.
    """
    asked = [r for r in facts.of("webhook") if r.status] or [r for r in facts.replicas if r.status]
    harbors = {r.pod: _condition((r.status or {}).get("harbor")) for r in asked}
    bad = {pod: c for pod, c in harbors.items() if c.get("state") not in ("available", None)}
    if bad:
        one = next(iter(bad.values()))
        who = "" if len(bad) == len(asked) else f" to {', '.join(sorted(bad))}, and not to others"
        yield Problem(
            "harbor-unavailable" if len(bad) == len(asked) else "replicas-disagree",
            f"Harbor is {one.get('state')}{who} since {one.get('since')}: {one.get('why')}. Images are "
            "kept, and waiting Pods are restored.",
            f"Look at Harbor's machine ({_url(asked)}): is it up, does it answer there, is its "
            "certificate good? Where only some replicas see this, look at their nodes' network.",
        )
        return
    refused = [
        condition
        for replica in asked
        if (condition := _condition((replica.status or {}).get("account"))).get("state")
        == "unavailable"
    ]
    if refused:
        yield Problem(
            "account-refused",
            f"The robot account for private projects does not get in, since"
            f" {refused[0].get('since')}: {refused[0].get('why')}. Public projects are untouched.",
            "harbor-cache harbor apply --config FILE mends it in Harbor; then bring the Secrets that"
            " hold its secret up to date",
        )
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for replica in asked:
        for project, condition in ((replica.status or {}).get("projects") or {}).items():
            if condition.get("cause") != "suspended" and condition.get("state") not in (
                "available",
                "cache-only",
            ):
                seen.setdefault(project, []).append(condition)
    for project, conditions in seen.items():
        split = len(conditions) < len(asked)
        yield Problem(
            "replicas-disagree" if split else "project-unavailable",
            f"Project {project} is {conditions[0].get('state')} since {conditions[0].get('since')}"
            f"{f' to {len(conditions)} of {len(asked)} replicas' if split else ''}: "
            f"{conditions[0].get('why')}. Its images are kept.",
            "harbor-cache harbor plan --config FILE says what Harbor lacks",
        )


def _suspended(facts: Facts) -> Iterator[Problem]:
    for project, entry in facts.quarantine.projects.items():
        yield Problem(
            "project-suspended",
            f"Project {project} is suspended until {entry.until:%Y-%m-%d %H:%M} UTC: {entry.reason}.",
            "Many of its images failed on several nodes while Harbor seemed well: pull one by hand "
            f"from a node. It ends by itself; to end it now, take it out of the ConfigMap "
            f"{facts.name}-quarantine in {facts.namespace}.",
        )


def _fences(facts: Facts) -> Iterator[Problem]:
    if facts.policies is None or facts.deployments.get("controller") is None:
        return
    wanted = ["pods"] if _others_issue(facts) else ["pods", "webhook-configuration"]
    for name in wanted:
        if name not in facts.policies:
            yield Problem(
                "fence-gone",
                f"The fence {facts.name}-controller-{name} (a ValidatingAdmissionPolicy or its "
                "binding) is gone: the controller's token may change more than it should.",
                _REINSTALL,
            )
    annotations = facts.policies.get("pods", {}).get("metadata", {}).get("annotations") or {}
    rendered = annotations.get(_RULES)
    actual = facts.config.rules.fingerprint if facts.config else None
    if rendered and actual and rendered != actual:
        yield Problem(
            "fence-differs",
            "The fence around the controller was rendered from other rules than the config has: "
            "Pods are not rescued.",
            f"{_REINSTALL}, so that both come from the same values",
        )


def _others_issue(facts: Facts) -> bool:
    """
    Tell whether the controller leaves certificates to others, and so needs no second fence.
    """
    spec = (facts.deployments.get("controller") or {}).get("spec", {})
    containers = spec.get("template", {}).get("spec", {}).get("containers", ())
    return any("--tls-mode=none" in (container.get("args") or ()) for container in containers)


def _lease(facts: Facts) -> Iterator[Problem]:
    deployment = facts.deployments.get("controller")
    if deployment is None or any(unseen.what == "the Lease" for unseen in facts.unseen):
        return
    spec = (facts.lease or {}).get("spec") or {}
    renewed = _moment(spec.get("renewTime"))
    limit = timedelta(seconds=float(spec.get("leaseDurationSeconds") or 15) + _LEASE_SLACK)
    abandoned = renewed is None or renewed + limit < facts.now
    if not spec.get("holderIdentity") or abandoned:
        ago = f", last renewed {renewed:%Y-%m-%d %H:%M:%S} UTC" if renewed else ""
        yield Problem(
            "lease-without-holder",
            f"No controller holds the Lease {facts.name}-controller{ago}: no Pod is moved, and no "
            "certificate is renewed.",
            f"kubectl -n {facts.namespace} logs -l app.kubernetes.io/component=controller: may it "
            "update its Lease?",
        )


def _certificates(facts: Facts) -> Iterator[Problem]:
    for replica in facts.of("controller"):
        status = replica.status or {}
        if status.get("leading") and status.get("certificates") not in (None, "ok"):
            yield Problem(
                "certificates-failing",
                f"{replica.pod} can't look after the certificates: {status['certificates']}.",
                "What is served goes on being served; see the controller's log, and whether it may "
                "write its two Secrets and the caBundle.",
            )


def _versions(facts: Facts) -> Iterator[Problem]:
    images = {replica.image for replica in facts.replicas if not replica.trouble}
    versions = {replica.version for replica in facts.replicas if replica.version}
    if len(images) > 1 or len(versions) > 1:
        pods: dict[str, list[str]] = {}
        for replica in facts.replicas:
            pods.setdefault(replica.version or replica.image, []).append(replica.pod)
        which = "; ".join(f"{version}: {', '.join(names)}" for version, names in pods.items())
        yield Problem(
            "version-skew",
            f"Replicas run different versions ({which}).",
            f"During a rollout that is as it should be: kubectl -n {facts.namespace} rollout status "
            f"deployment/{facts.name}. Else {_REINSTALL}.",
        )


def _labels(facts: Facts) -> Iterator[Problem]:
    for team in facts.teams:
        if team.mistyped or team.label not in ("enforce", "audit", None):
            label = team.mistyped[0] if team.mistyped else f"harbor-cache.io/mode={team.label}"
            yield Problem(
                "label-mistyped",
                f"Namespace {team.name} has the label {label}, which means nothing: nothing is "
                "rewritten there.",
                f"kubectl label --overwrite namespace {team.name} harbor-cache.io/mode=enforce "
                "(or audit), and take a wrong label away",
            )
        elif team.excluded:
            yield Problem(
                "namespace-excluded",
                f"Namespace {team.name} has the label {team.label}, and the webhook configuration "
                "leaves it out.",
                "Take the label away, or the namespace out of excludeNamespaces",
            )


def _condition(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _url(asked: list[Replica]) -> str:
    return str((asked[0].status or {}).get("url") or "its address")


def _moment(text: Any) -> datetime | None:
    try:
        return read_timestamp(text)
    except (ValueError, TypeError):
        return None
