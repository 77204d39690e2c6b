"""
What a survey found.  `docs/audit-json.md` says the same in the words of the JSON output.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from webhook.image.decision import Reason


__all__ = [
    "HARBOR",
    "RATE_LIMITED",
    "UNPARSED",
    "ClusterImage",
    "Counts",
    "NamespaceReport",
    "NodePulls",
    "PreflightResult",
    "ProbeResult",
    "RegistryReport",
    "Survey",
    "Unseen",
    "WorkloadReport",
]

RATE_LIMITED: Final = frozenset({"docker.io"})
"""
Registries known for limiting the number of pulls per address.
"""

HARBOR: Final = "Harbor"
"""
Harbor as a whole, among the names of projects that were probed.
"""

UNPARSED: Final = "(no registry)"
"""
Stands for the registry of what is no image reference.
"""

Outcome = Literal["would-rewrite", "kept"]
NamespaceMode = Literal["enforce", "audit", "none", "unknown", "excluded"]


@dataclass(slots=True)
class Counts:
    """
    How many Pods, or containers of Pods, pull from where at this moment.

    Attributes:
        cached: on Harbor.
        direct: on the registry itself, and never restored as far as records tell.
        restored: on the registry again, after they had been on Harbor.
    """

    cached: int = 0
    direct: int = 0
    restored: int = 0

    @property
    def total(self) -> int:
        """
        Return the sum of all three.
        """
        return self.cached + self.direct + self.restored

    def add(self, other: "Counts") -> None:
        """
        Add *other* to this.
        """
        self.cached += other.cached
        self.direct += other.direct
        self.restored += other.restored


@dataclass(slots=True)
class ClusterImage:
    """
    One image of one workload, as its manifest names it.

    Attributes:
        image: the original image, also where Pods have it from Harbor now.
        registry: the registry's main name.
        outcome: what becomes of it in a namespace that enforces.
        reason: why.
        result: what it becomes.
        containers: the names of the containers and volumes that use it.
        running: its uses in Pods: one per Pod and container.
        every_start: whether each start of a container asks the registry.
        digest: whether the image is pinned by a digest.
    """

    image: str
    registry: str
    outcome: Outcome
    reason: Reason
    result: str
    containers: list[str] = field(default_factory=list)
    running: Counts = field(default_factory=Counts)
    every_start: bool = False
    digest: bool = False


@dataclass(slots=True)
class WorkloadReport:
    """
    What stands behind Pods: a Deployment, a CronJob, …, or a Pod of its own.

    Attributes:
        namespace: where it is.
        kind: of what stands behind.
        name: of it.
        pods: its Pods.
        images: those of its template and of its Pods.
        pull_secrets: the names of those that it brings.
        operator: ``Kind.group`` of an operator that controls its Pods itself; else empty.
        gitops: the tool that keeps a Pod of its own as it stands in Git; else empty.
    """

    namespace: str
    kind: str
    name: str
    pods: Counts = field(default_factory=Counts)
    images: list[ClusterImage] = field(default_factory=list)
    pull_secrets: list[str] = field(default_factory=list)
    operator: str = ""
    gitops: str = ""

    @property
    def would_rewrite(self) -> bool:
        """
        Tell whether any image would be rewritten.
        """
        return any(image.outcome == "would-rewrite" for image in self.images)


@dataclass(slots=True)
class NamespaceReport:
    """
    A namespace, the mode it is in, and its Pods.

    Attributes:
        name: its name.
        label: the value of its mode label, if it has one.
        mode: what the webhook does there.
        why: in words, where the label does not do what it says.
        pods: its Pods.
        workloads: how many workloads it has.
        would_rewrite: how many uses of images (per Pod and container) would be rewritten.
        kept: how many would be kept.
        on_harbor: how many are on Harbor now.
        could_be: how many are on Harbor now, or would be if the namespace enforced.
        with_pull_secrets: Pods that bring pull secrets and have an image that would be rewritten.
    """

    name: str
    label: str | None = None
    mode: NamespaceMode = "none"
    why: str = ""
    pods: Counts = field(default_factory=Counts)
    workloads: int = 0
    would_rewrite: int = 0
    kept: int = 0
    on_harbor: int = 0
    could_be: int = 0
    with_pull_secrets: int = 0


@dataclass(slots=True)
class RegistryReport:
    """
    A registry that images come from.

    Attributes:
        registry: its main name.
        project: the proxy project that caches it; None where no rule covers it.
        images: how many different images.
        pods: how many Pods use it.
        uses: how many containers of Pods do.
        would_rewrite: how many of these uses would be rewritten.
        on_harbor: how many of them are on Harbor now.
        could_be: how many are on Harbor now, or would be if every namespace enforced.
        pulls: pulls if every Pod started on a node that has nothing: images per Pod.
        every_start: how many of these pulls ask the registry even if the node has the image.
        workloads: how many workloads use it.
    """

    registry: str
    project: str | None
    images: int = 0
    pods: int = 0
    uses: int = 0
    would_rewrite: int = 0
    on_harbor: int = 0
    could_be: int = 0
    pulls: int = 0
    every_start: int = 0
    workloads: int = 0

    @property
    def rate_limited(self) -> bool:
        """
        Tell whether the registry limits the number of pulls.
        """
        return self.registry in RATE_LIMITED


@dataclass(frozen=True, slots=True)
class Unseen:
    """
    Something that the survey could not look at, and why.
    """

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """
    Whether Harbor, or one of its projects (*name*), can serve.
    """

    name: str
    state: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """
    What the API server says to a Pod with a rewritten image, without creating it.

    Attributes:
        namespace: where it was tried.
        image: the rewritten image.
        outcome: ``accepted``; ``refused`` where only the rewritten image is; ``inconclusive``
            where the same Pod is refused with the original image too, or can't be tried.
        policy: the policy or webhook that refuses it, if the API server names one.
        message: the API server's words.
    """

    namespace: str
    image: str
    outcome: Literal["accepted", "refused", "inconclusive"]
    policy: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class NodePulls:
    """
    How many images a node pulls at a time, by its kubelet's own configuration.

    Attributes:
        node: its name.
        at_once: one, or as many as the kubelet allows; None without a limit.
    """

    node: str
    at_once: int | None


@dataclass(slots=True)
class Survey:
    """
    Everything that a report shows.

    Attributes:
        cluster: the API server's URL.
        name: what people call the cluster, or an empty string.
        generated: when the survey ended (RFC 3339, UTC).
        harbor: the host that images would come from.
        mode: what the config says.
        paused: what the config says.
        installed: whether the cluster has our webhook configuration; None if that can't be seen.
        namespaces: by name.
        workloads: by namespace, kind and name.
        registries: those with most Pods first.
        reasons: uses of images by reason, the most frequent first.
        unseen: what could not be looked at.
        probes: how Harbor and its projects are, if they were asked.
        preflight: what dry runs said, if any were made.
        nodes: how nodes pull, if they were asked.
        source: where the config is from.
        placeholder: why a placeholder Harbor is judged by, or an empty string.
    """

    cluster: str
    generated: str
    harbor: str
    mode: str
    paused: bool
    installed: bool | None
    namespaces: list[NamespaceReport] = field(default_factory=list)
    workloads: list[WorkloadReport] = field(default_factory=list)
    registries: list[RegistryReport] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    unseen: list[Unseen] = field(default_factory=list)
    probes: list[ProbeResult] | None = None
    preflight: list[PreflightResult] | None = None
    nodes: list[NodePulls] | None = None
    source: str = ""
    placeholder: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """
        Return what to call the cluster: its name, or else its URL.
        """
        return self.name or self.cluster

    @property
    def pods(self) -> Counts:
        """
        Return the Pods of all namespaces.
        """
        return _sum(namespace.pods for namespace in self.namespaces)

    @property
    def uses(self) -> int:
        """
        Return how many containers of Pods there are: each is one use of an image.
        """
        return sum(registry.uses for registry in self.registries)

    @property
    def would_rewrite(self) -> int:
        """
        Return how many of these uses would be rewritten.
        """
        return sum(registry.would_rewrite for registry in self.registries)

    @property
    def on_harbor(self) -> int:
        """
        Return how many of these uses are on Harbor now.
        """
        return sum(registry.on_harbor for registry in self.registries)

    @property
    def could_be(self) -> int:
        """
        Return how many of these uses are on Harbor now, or would be if every namespace enforced.
        """
        return sum(registry.could_be for registry in self.registries)

    @property
    def images(self) -> int:
        """
        Return how many different images there are.
        """
        return sum(registry.images for registry in self.registries)

    @property
    def gaps(self) -> list[RegistryReport]:
        """
        Return the registries that no rule covers, those with most Pods first.
        """
        return [r for r in self.registries if r.project is None and r.registry != UNPARSED]

    @property
    def private(self) -> list[WorkloadReport]:
        """
        Return the workloads that bring pull secrets and would be rewritten: look before enforcing.
        """
        return [w for w in self.workloads if w.pull_secrets and w.would_rewrite]

    @property
    def rate_limited_pulls(self) -> int:
        """
        Return how often a start of the whole fleet pulls from registries with a limit.
        """
        return sum(r.pulls for r in self.registries if r.rate_limited)


def _sum(several: Iterable[Counts]) -> Counts:
    total = Counts()
    for counts in several:
        total.add(counts)
    return total
