"""
What the nodes show about images that Harbor can't serve: pure, and in memory.

The class of a failure (`webhook.recovery.failure`) says against whom it counts at all.  One node that
lacks Harbor's certificate authority must not poison the cluster.  So an image is judged only when
two nodes failed on it, or one that has pulled another image from Harbor since.  And an image that
exists nowhere is nobody's fault: where its upstream says so too, the evidence is taken back.

One tenant's word counts as far as that tenant goes.  An upstream that denies an image may give it to
others, so only what is absent is taken back for all.  Images go by one name: that at their registry,
as in the quarantine, and with the digest that was asked for.  Records have no part in it: whoever
writes one, and a digest that exists nowhere behind it, would speak about an image of others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from webhook.image.decision import Rewrite, rewrite_by_rules
from webhook.image.rules import Rules
from webhook.pod.origin import on_harbor, original_of
from webhook.recovery.failure import PullFailure
from webhook.recovery.waiting import WatchedPod


__all__ = ["Evidence", "Failure", "Nowhere", "Verdict", "identity", "refused_upstream"]

_KEPT: Final = 3600.0
"""
A failure counts for so long, in seconds.
"""

_RECENT: Final = 900.0
"""
Failures of one project, or one node, within so many seconds belong together.
"""

_MANY_IMAGES: Final = 5
_SEVERAL_NODES: Final = 2
_SEVERAL_NAMESPACES: Final = 2
_IMAGES_OF_A_NODE: Final = 2
_MOST_IMAGES: Final = 5000
_MOST_NODES_PER_IMAGE: Final = 8
_MOST_PULLS: Final = 100_000
_MOST_NOWHERE: Final = 5000


class Nowhere(NamedTuple):
    """
    An image that its upstream does not give away either.

    Attributes:
        image: its one name.
        namespace: for whose Pods that is so; empty where it is so for all.
    """

    image: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Failure:
    """
    A container that had to be restored while Harbor was there.

    Attributes:
        image: the image under its registry's main name.
        project: the project that should have served it.
        node: where the pull failed.
        namespace: whose Pod it was.
        since: when the pull was first seen to fail, in seconds.
        at: when it was given up, in seconds.
        failure: whose fault the last attempt was.
        steady: the project was `available` throughout: not `cache-only` for a moment.
    """

    image: str
    project: str
    node: str
    namespace: str
    since: float
    at: float
    failure: PullFailure
    steady: bool = True

    @property
    def against_image(self) -> bool:
        """
        Tell whether this counts against the image: Harbor has spoken, and was well meanwhile.
        """
        return self.failure.final and self.steady

    @property
    def against_project(self) -> bool:
        """
        Tell whether this counts against the project.
        """
        return self.against_image or self.failure is PullFailure.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What follows from the evidence.

    Attributes:
        images: those that Harbor can't serve, with the last failure and the reason in words.
        projects: those that are suspended, with the reason in words.
        nodes: those on which every pull from Harbor fails, with how many images that is.
        blamed: images whose failures are their project's fault, by project.
        nowhere: what upstreams do not give away either.
    """

    images: Mapping[str, tuple[Failure, str]] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    blamed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    nowhere: frozenset[Nowhere] = frozenset()


class Evidence:
    """
    Failures and successes of pulls through Harbor, bounded in number and in time.

    Args:
        settles: so long, in seconds, what Harbor said of an image counts not yet against its
            project: the upstream may say the same.
        learned: from when on, in seconds, it is known what is on the nodes; until then an image
            that is seen for the first time may have been there for long.
    """

    def __init__(self, settles: float = 20.0, learned: float = float("-inf")) -> None:
        self._settles = settles
        self._learned = learned
        self._nowhere: dict[Nowhere, float] = {}
        self._failures: dict[str, dict[str, Failure]] = {}
        self._node_success: dict[str, tuple[float, str]] = {}
        self._project_success: dict[str, float] = {}
        self._on_node: dict[tuple[str, str], None] = {}

    def failed(self, failure: Failure) -> None:
        """
        Take note of a pull that was given up; one that is nobody's fault is passed over.
        """
        if not failure.against_project or self._is_nowhere(failure.image, failure.namespace):
            return
        nodes = self._failures.pop(failure.image, {})
        nodes[failure.node] = failure
        if len(nodes) > _MOST_NODES_PER_IMAGE:
            del nodes[next(iter(nodes))]
        self._failures[failure.image] = nodes  # At the end: the first ones are the oldest.
        if len(self._failures) > _MOST_IMAGES:
            del self._failures[next(iter(self._failures))]

    def started(
        self, node: str, image: str, project: str, *, at: float, proves: bool, pulled: bool
    ) -> None:
        """
        Take note of a container that started from an *image* (its one name) that Harbor serves.

        It proves a pull if the image was certainly asked for (*pulled*: it had failed, or has
        ``imagePullPolicy: Always``), or if it was never seen on this *node* before, and that is
        known; and nothing (*proves*) if it has been running since before we looked.  As long as it
        is not known, a start keeps its project from being suspended, and does no more: neither a
        project that serves nor an image that fails must be judged by what may have been there.
        """
        key = node, image
        new = key not in self._on_node
        self._on_node.pop(key, None)
        self._on_node[key] = None  # At the end: the first ones were not seen for longest.
        if len(self._on_node) > _MOST_PULLS:
            del self._on_node[next(iter(self._on_node))]
        if not proves or not (new or pulled):
            return
        self._project_success[project] = at
        if not pulled and at < self._learned:
            return
        self._node_success[node] = at, image
        self._failures.pop(image, None)
        for nowhere in [nowhere for nowhere in self._nowhere if nowhere.image == image]:
            del self._nowhere[nowhere]

    def nowhere(self, found: Nowhere, now: float) -> None:
        """
        Take back what is known against an image: its upstream says absent, or denied, too.
        """
        nodes = self._failures.pop(found.image, {})
        others = {
            node: failure
            for node, failure in nodes.items()
            if found.namespace not in ("", failure.namespace)
        }
        if others:
            self._failures[found.image] = others
        self._nowhere.pop(found, None)
        self._nowhere[found] = now
        if len(self._nowhere) > _MOST_NOWHERE:
            del self._nowhere[next(iter(self._nowhere))]

    def forget(self, image: str) -> None:
        """
        Drop what is known against *image*: someone has decided about it.
        """
        self._failures.pop(image, None)

    def judge(self, now: float) -> Verdict:
        """
        Return what follows from all that was seen until *now*.
        """
        self._expire(now)
        projects, blamed = self._projects(now)
        suspended = {image for images in blamed.values() for image in images}
        images = {}
        for image, failures in self._failures.items():
            nodes = {node: f for node, f in failures.items() if f.against_image}
            reason = "" if image in suspended else self._reason(image, nodes)
            if reason:
                images[image] = (max(nodes.values(), key=lambda failure: failure.at), reason)
        return Verdict(images, projects, self._nodes(now), blamed, frozenset(self._nowhere))

    def _is_nowhere(self, image: str, namespace: str) -> bool:
        return any(Nowhere(image, whose) in self._nowhere for whose in ("", namespace))

    def _reason(self, image: str, nodes: Mapping[str, Failure]) -> str:
        if len(nodes) >= _SEVERAL_NODES:
            return f"{len(nodes)} nodes could not pull it from Harbor: {', '.join(sorted(nodes))}"
        for node, failure in nodes.items():
            at, other = self._node_success.get(node, (float("-inf"), ""))
            if at > failure.since and other != image:
                return f"{node} could not pull it from Harbor, and pulled other images since"
        return ""

    def _projects(self, now: float) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
        recent = self._recent(now, lambda failure: failure.project)
        suspended, blamed = {}, {}
        for project, failures in recent.items():
            last_success = self._project_success.get(project, float("-inf"))
            counting = [
                f
                for f in failures
                if f.since > last_success
                and (f.failure is PullFailure.UNREACHABLE or now - f.at >= self._settles)
            ]
            images = frozenset(failure.image for failure in counting)
            nodes = {failure.node for failure in counting}
            namespaces = {failure.namespace for failure in counting}
            if (
                len(images) >= _MANY_IMAGES
                and len(nodes) >= _SEVERAL_NODES
                and len(namespaces) >= _SEVERAL_NAMESPACES
            ):
                suspended[project] = (
                    f"{len(images)} images failed on {len(nodes)} nodes, and none could be pulled"
                )
                blamed[project] = images
        return suspended, blamed

    def _nodes(self, now: float) -> dict[str, int]:
        recent = self._recent(now, lambda failure: failure.node)
        failing = {}
        for node, failures in recent.items():
            last_success = self._node_success.get(node, (float("-inf"), ""))[0]
            # What Harbor said of an image came from Harbor: the node reaches it.
            unreachable = {f.image for f in failures if f.failure is PullFailure.UNREACHABLE}
            if len(unreachable) >= _IMAGES_OF_A_NODE and all(
                f.since > last_success and f.failure is PullFailure.UNREACHABLE for f in failures
            ):
                failing[node] = len(unreachable)
        return failing

    def _recent(self, now: float, key: Callable[[Failure], str]) -> dict[str, list[Failure]]:
        groups: dict[str, list[Failure]] = {}
        for nodes in self._failures.values():
            for failure in nodes.values():
                if now - failure.at <= _RECENT:
                    groups.setdefault(key(failure), []).append(failure)
        return groups

    def _expire(self, now: float) -> None:
        self._nowhere = {n: at for n, at in self._nowhere.items() if now - at <= _KEPT}
        self._node_success = {
            node: last for node, last in self._node_success.items() if now - last[0] <= _KEPT
        }
        for image, nodes in list(self._failures.items()):
            living = {name: f for name, f in nodes.items() if now - f.at <= _KEPT}
            if living:
                self._failures[image] = living
            else:
                del self._failures[image]


def identity(image: str, rules: Rules) -> str:
    """
    Return the image's name at its registry; empty if no rule is about it.

    Args:
        image: what the container pulls: from Harbor, or from its registry.
        rules: what rewrites: `webhook.image.rules.Rules.for_records`.
    """
    at_harbor = original_of(image, rules)
    if at_harbor:
        return at_harbor
    rewrite = rewrite_by_rules(image, rules)
    return str(rewrite.original) if isinstance(rewrite, Rewrite) else ""


def refused_upstream(pod: WatchedPod, rules: Rules) -> Iterator[Nowhere]:
    """
    Yield the images that the upstream of *pod* says absent about, or denied to this Pod.
    """
    for container in pod.waiting:
        said_no = container.failure is not None and container.failure.final
        if said_no and container.names_image and not on_harbor(container.image, rules):
            name = identity(container.image, rules)
            if name:
                absent = container.failure is PullFailure.ABSENT
                yield Nowhere(name, "" if absent else pod.namespace)
