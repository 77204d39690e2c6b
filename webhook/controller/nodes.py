"""
Nodes on which nothing is pulled any more, since a pull from Harbor hangs there.

A kubelet pulls one image at a time by default.  No patch helps such a node, and no deletion; so
it is named, to people.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import structlog

from webhook.controller import messages
from webhook.controller.pods import Case, WaitingPods
from webhook.image.rules import Rules
from webhook.kube.events import Events, Subject
from webhook.pod.origin import on_harbor
from webhook.recovery.waiting import WaitingContainer


__all__ = ["Blocked", "Nodes", "blocked_nodes"]

_EVENT_EVERY: Final = 3600.0
_BLOCKED_AFTER: Final = 60.0
_WAITS_AFTER: Final = 30.0
_SEVERAL_PODS: Final = 2

_log = structlog.get_logger()


class Blocked(NamedTuple):
    """
    A node that pulls nothing: how many Pods wait there, and for how many seconds the oldest does.
    """

    pods: int
    seconds: float


class Nodes:
    """
    Tells people about nodes in trouble, about each once an hour.

    Attributes:
        blocked: those on which nothing is pulled any more.
    """

    def __init__(self, events: Events) -> None:
        self.blocked: dict[str, Blocked] = {}
        self._events = events
        self._told: dict[tuple[str, str], float] = {}

    def tell(
        self,
        failing: Mapping[str, int],
        pods: WaitingPods,
        rules: Rules,
        *,
        now: float,
        wall: float,
    ) -> None:
        """
        Look at what is known at this moment.

        Args:
            failing: nodes on which every pull from Harbor fails, with how many images that is.
            pods: the Pods that wait.
            rules: what leads to Harbor.
            now: the time of a clock that nobody sets, in seconds.
            wall: the time, in seconds since 1970.
        """
        self.blocked = blocked_nodes(pods, rules, pods.started, now=now, wall=wall)
        for node, images in failing.items():
            self._tell(node, messages.failing_node(images), now)
        for node, blocked in self.blocked.items():
            self._tell(node, messages.blocked_node(*blocked), now)

    def _tell(self, node: str, message: messages.Message, now: float) -> None:
        key = node, message.reason
        if now - self._told.get(key, float("-inf")) < _EVENT_EVERY:
            return
        self._told[key] = now
        _log.warning("node in trouble", node=node, why=message.text)
        # The kubelet's own Events about a node carry its name as uid.
        subject = Subject("Node", node, uid=node)
        self._events.tell(subject, message.reason, message.text, warning=True)


def blocked_nodes(
    cases: Iterable[Case],
    rules: Rules,
    started: Mapping[str, float],
    *,
    now: float,
    wall: float,
) -> dict[str, Blocked]:
    """
    Return the nodes on which nothing is pulled any more.

    A pull from Harbor has gone on there for a minute (also where the container has been given
    another image since: the kubelet does not let go), another Pod waits as well without a word
    from the kubelet, and no container that waited has started since.

    Args:
        cases: the Pods that wait.
        rules: what leads to Harbor.
        started: by node, when a container was last seen to start there, by the clock of *now*.
        now: the time of that clock, in seconds.
        wall: the time, in seconds since 1970.
    """
    waiting: dict[str, list[float]] = {}
    hanging: dict[str, float] = {}
    for case in cases:
        pod = case.pod
        if pod.scheduled is None or not pod.node:
            continue
        seconds = wall - pod.scheduled
        silent = [container for container in pod.waiting if container.may_hang]
        if not silent or seconds < _WAITS_AFTER:
            continue
        waiting.setdefault(pod.node, []).append(seconds)
        if any(_from_harbor(case, container, rules) for container in silent):
            hanging[pod.node] = max(seconds, hanging.get(pod.node, 0.0))
    return {
        node: Blocked(len(waiting[node]), seconds)
        for node, seconds in hanging.items()
        if seconds >= _BLOCKED_AFTER
        and len(waiting[node]) >= _SEVERAL_PODS
        and now - started.get(node, float("-inf")) >= _WAITS_AFTER
    }


def _from_harbor(case: Case, container: WaitingContainer, rules: Rules) -> bool:
    before = case.memory.of(container.name).before
    return on_harbor(container.image, rules) or bool(before and on_harbor(before, rules))
