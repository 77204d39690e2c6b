"""
From a cluster's objects, one at a time, to a survey; pure.

Each object is looked at once and let go, so that thousands of Pods take no more memory than what
is said about them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import convert

from webhook.errors import InvalidReferenceError
from webhook.image.availability import Availability
from webhook.image.reference import Reference
from webhook.pod.decision import ImageDecision, Policy, decide_pod
from webhook.pod.model import MODE_LABEL, ImageField, Pod, PodSpec
from webhook.pod.origin import FINISHED, Origin, Source, origins, source_of, with_originals
from webhook.survey.model import (
    UNPARSED,
    ClusterImage,
    Counts,
    NamespaceReport,
    RegistryReport,
    Survey,
    WorkloadReport,
)
from webhook.survey.owners import controller_of, gitops_of, operator_of
from webhook.survey.selectors import Installation, namespace_mode


__all__ = ["TEMPLATES", "Tally"]

TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Job": ("spec", "template"),
}
"""
The kinds behind Pods, and where their template stands.  Owners come before what they own.
"""

# What belongs to one of these is no workload of its own: a revision, or one run.
_OWNED_BY: Final = {"ReplicaSet": "Deployment", "Job": "CronJob"}

Key = tuple[str, str, str]  # Namespace, kind, name.


@dataclass(slots=True)
class _Registry:
    images: set[str] = field(default_factory=set)
    workloads: set[Key] = field(default_factory=set)
    pods: int = 0
    uses: int = 0
    would_rewrite: int = 0
    on_harbor: int = 0
    could_be: int = 0
    pulls: int = 0
    every_start: int = 0


class Tally:
    """
    Takes in objects as the API server lists them, and sums up what they say.

    Namespaces come first, then the kinds of `TEMPLATES` in their order, then Pods.
    """

    def __init__(self, policy: Policy, installation: Installation | None = None) -> None:
        """
        Begin a survey by the rules of *policy*, with Harbor taken as available.

        Args:
            policy: what decides about Pods.
            installation: what the cluster's webhook configuration says; None if unknown.
        """
        self._policy = policy
        self._installation = installation
        projects = tuple(rule.project for rule in policy.rules.rules)
        self._availability = Availability.of_all(projects)
        self._namespaces: dict[str, NamespaceReport] = {}
        self._workloads: dict[Key, WorkloadReport] = {}
        self._owners: dict[Key, Key] = {}
        self._registries: dict[str, _Registry] = {}
        self._reasons: Counter[str] = Counter()

    def add_namespace(self, item: Mapping[str, Any]) -> None:
        """
        Take in a namespace, with its labels.
        """
        metadata = item.get("metadata") or {}
        name = str(metadata.get("name", ""))
        labels = metadata.get("labels") or {}
        report = self._namespace(name)
        report.label = labels.get(MODE_LABEL)
        report.mode, report.why = namespace_mode(name, labels, self._installation, self._policy)

    def add_workload(self, kind: str, item: Mapping[str, Any]) -> None:
        """
        Take in an object of one of the kinds in `TEMPLATES`.
        """
        metadata = item.get("metadata") or {}
        key = (str(metadata.get("namespace", "")), kind, str(metadata.get("name", "")))
        owner = _controller(metadata)
        if owner is not None and owner[0] == _OWNED_BY.get(kind):
            self._owners[key] = (key[0], *owner)
            return
        template: Any = item
        for part in TEMPLATES[kind]:
            template = (template or {}).get(part)
        self._add(key, convert(template or {}, Pod), None)

    def add_pod(self, item: Mapping[str, Any]) -> None:
        """
        Take in a Pod; one that has finished pulls nothing any more, and counts nowhere.
        """
        if (item.get("status") or {}).get("phase") in FINISHED:
            return
        metadata = item.get("metadata") or {}
        namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
        owner = _controller(metadata)
        key = (namespace, *owner) if owner else (namespace, "Pod", name)
        pod = convert(item, Pod)
        found = origins(pod, self._policy.rules)
        key = self._owners.get(key, key)
        self._add(key, with_originals(pod, found), found)
        workload = self._workloads[key]
        workload.operator, workload.gitops = operator_of(metadata), gitops_of(metadata)

    def result(self, **about: Any) -> Survey:
        """
        Return the survey; *about* are the fields of `Survey` that say when and of what it is.
        """
        for key in self._workloads:
            self._namespace(key[0]).workloads += 1
        projects = {rule.host: rule.project for rule in self._policy.rules.rules}
        registries = [
            RegistryReport(
                registry=name,
                project=projects.get(name),
                images=len(found.images),
                pods=found.pods,
                uses=found.uses,
                would_rewrite=found.would_rewrite,
                on_harbor=found.on_harbor,
                could_be=found.could_be,
                pulls=found.pulls,
                every_start=found.every_start,
                workloads=len(found.workloads),
            )
            for name, found in self._registries.items()
        ]
        return Survey(
            harbor=self._policy.rules.harbor_host,
            mode=self._policy.mode,
            paused=self._policy.paused,
            installed=None if self._installation is None else bool(self._installation.entries),
            namespaces=sorted(self._namespaces.values(), key=lambda n: n.name),
            workloads=sorted(
                self._workloads.values(), key=lambda w: (w.namespace, w.kind, w.name)
            ),
            registries=sorted(registries, key=lambda r: (-r.pods, -r.workloads, r.registry)),
            reasons=dict(self._reasons.most_common()),
            **about,
        )

    def _namespace(self, name: str) -> NamespaceReport:
        return self._namespaces.setdefault(name, NamespaceReport(name))

    def _add(self, key: Key, pod: Pod, found: list[Origin] | None) -> None:
        """
        Take in a Pod, with the origins of its images, or a template, without.
        """
        workload = self._workloads.setdefault(key, WorkloadReport(*key))
        spec = pod.spec or PodSpec()
        for secret in spec.image_pull_secrets or ():
            if secret.name not in workload.pull_secrets:
                workload.pull_secrets.append(secret.name)
        outcomes = decide_pod(pod, self._policy, self._availability)
        rows = [self._add_image(workload, outcome) for outcome in outcomes]
        for row in rows:
            registry = self._registries.setdefault(row.registry, _Registry())
            registry.images.add(row.image)
            registry.workloads.add(key)
        if found is None:
            return

        namespace = self._namespace(key[0])
        rewritten = False
        for origin, row in zip(found, rows, strict=True):
            row.running.add(_count(origin.source))
            would = row.outcome == "would-rewrite"
            rewritten = rewritten or would
            registry = self._registries[row.registry]
            registry.uses += 1
            namespace.kept += not would
            on_harbor = origin.source is Source.CACHED
            for place in (namespace, registry):
                place.would_rewrite += would
                place.on_harbor += on_harbor
                place.could_be += on_harbor or would
            self._reasons[row.reason] += 1
        for name in {row.registry for row in rows}:
            self._registries[name].pods += 1
        # A Pod pulls each of its images once, whatever the number of containers.
        for row in {id(row): row for row in rows}.values():
            self._registries[row.registry].pulls += 1
            self._registries[row.registry].every_start += row.every_start
        source = source_of(found)
        workload.pods.add(_count(source))
        namespace.pods.add(_count(source))
        namespace.with_pull_secrets += bool(spec.image_pull_secrets) and rewritten

    def _add_image(self, workload: WorkloadReport, outcome: ImageDecision) -> ClusterImage:
        would = outcome.outcome == "rewritten"
        image = outcome.field.image
        for row in workload.images:
            same = row.image == image and row.reason == outcome.reason
            if same and row.every_start == _asks_each_time(outcome.field):
                break
        else:
            row = ClusterImage(
                image=image,
                registry=self._registry_of(image),
                outcome="would-rewrite" if would else "kept",
                reason=outcome.reason,
                result=outcome.result,
                every_start=_asks_each_time(outcome.field),
                digest=_has_digest(image),
            )
            workload.images.append(row)
        if outcome.field.name not in row.containers:
            row.containers.append(outcome.field.name)
        return row

    def _registry_of(self, image: str) -> str:
        try:
            reference = Reference.parse(image)
        except InvalidReferenceError:
            return UNPARSED
        rule = self._policy.rules.match(reference)
        return rule.host if rule else reference.domain


def _count(source: Source) -> Counts:
    return Counts(**{source: 1})


def _controller(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """
    Return kind and name of the owner that controls an object.
    """
    owner = controller_of(metadata)
    return None if owner is None else (str(owner.get("kind", "")), str(owner.get("name", "")))


def _asks_each_time(image_field: ImageField) -> bool:
    """
    Tell whether a start asks the registry even where the node has the image.

    The API server fills in the policy by the tag (``pkg/apis/core/v1/defaults.go``).
    """
    if image_field.pull_policy:
        return image_field.pull_policy == "Always"
    try:
        reference = Reference.parse(image_field.image)
    except InvalidReferenceError:
        return False
    return not reference.digest and reference.tag in ("", "latest")


def _has_digest(image: str) -> bool:
    try:
        return bool(Reference.parse(image).digest)
    except InvalidReferenceError:
        return False
