"""
What people read about a Pod or a node: in its Events, in the log, in the metrics.
"""

import re

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import structlog

from webhook.controller.pods import Case
from webhook.errors import ClusterError
from webhook.kube.events import Events, Subject
from webhook.process.metrics import ControllerMetrics
from webhook.recovery.move import Cause, Left, LeftReason, Move, Side
from webhook.text import clean, printable


__all__ = [
    "Message",
    "Reporter",
    "blocked_node",
    "failing_node",
    "is_about_the_pod",
    "left",
    "moved",
    "refused",
    "refuser",
]

_log = structlog.get_logger()


class Message(NamedTuple):
    """
    An Event: its reason (one CamelCase word), the text, and whether it is a warning.
    """

    reason: str
    text: str
    warning: bool = True


_WHY: Final = {
    Cause.UNAVAILABLE: "Harbor, or this project of it, is unavailable",
    Cause.HANGS: "Harbor, or this project of it, is unavailable, and the pull hangs",
    Cause.FAILS: "Harbor is there, but could not serve this image",
    Cause.FORMER_RULE: "the config no longer names the project that it comes from",
    Cause.UPSTREAM_LIMITED: "its registry's rate limit is reached, and Harbor can serve it",
    Cause.UPSTREAM_UNREACHABLE: "its registry gives no answer, and Harbor can serve it",
    Cause.UPSTREAM_DENIED: "its registry refuses it, and Harbor may be able to serve it",
    Cause.UPSTREAM_ABSENT: "its registry has lost it, and Harbor may still have it",
    Cause.UPSTREAM_FAILS: "it can't be pulled from its registry, and Harbor can serve it",
}

_REFUSERS: Final = (
    re.compile(r'admission webhook "([^"]+)" denied'),
    re.compile(r'failed calling webhook "([^"]+)"'),
    re.compile(r"ValidatingAdmissionPolicy '([^']+)'"),
    re.compile(r"violates (PodSecurity) "),
    re.compile(r"exceeded (quota): "),
)
_NOT_THE_POD: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS})
_NO_RIGHT: Final = re.compile(r'cannot (?:patch|get) resource "pods"')


def moved(move: Move) -> Message:
    """
    Tell that a container was moved.
    """
    container = move.container
    before, after, why = clean(container.image), clean(move.image), _WHY[move.cause]
    if move.to is Side.HARBOR:
        text = f"Container {container.name}: {why}; moved from {before} to {after}."
        return Message("HarborCacheRescued", text, warning=False)
    text = f"Container {container.name}: {why}; restored from {before} to {after}."
    return Message("HarborCacheRestored", text, warning=False)


def left(found: Left) -> Message:
    """
    Tell that a container is left as it is, and what to do about it.
    """
    return Message("HarborCacheNotRestored", _advice(found))


def refuser(error: ClusterError) -> str:
    """
    Return who refused a patch, as far as the API server says; empty where it does not.
    """
    text = str(error)
    if _NO_RIGHT.search(text):
        return "RBAC"
    found = (pattern.search(text) for pattern in _REFUSERS)
    return next((printable(match[1]) for match in found if match), "")


def is_about_the_pod(error: ClusterError) -> bool:
    """
    Tell whether an answer to a patch is about its Pod, and not about the API server itself.

    A webhook may refuse with any status, and one that fails is the API server's 500.
    """
    if refuser(error):
        return True
    unavailable = error.status == 0 or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return not unavailable and error.status not in _NOT_THE_POD


def refused(side: Side, error: ClusterError) -> Message:
    """
    Tell that a Pod's patch was refused, by whom and why, and that it is tried again.
    """
    who = refuser(error)
    by = f" by {who}" if who else " by the API server"
    if side is Side.HARBOR:
        reason, what = "HarborCacheRescueRefused", "Moving this Pod to Harbor's images"
    else:
        reason, what = "HarborCacheRestoreRefused", "Putting this Pod back to its original image"
    if error.late:
        happened = "was not answered"
        advice = "Does an admission webhook hang?"
    else:
        happened = f"was refused{by}"
        advice = (
            "Is the chart's ClusterRole intact?"
            if who == "RBAC"
            else "Let that policy pass it, or delete the Pod to have it made anew."
        )
    why = clean(str(error))
    return Message(
        reason,
        f"{what} {happened}: {why}. It is tried again for as long as the Pod waits. {advice}",
    )


def failing_node(images: int) -> Message:
    """
    Tell that every pull from Harbor fails on a node.
    """
    return Message(
        "HarborCachePullsFail",
        f"All {images} images that were to be pulled from Harbor lately failed on this node."
        " Does its container runtime trust Harbor's certificate, and can it reach Harbor?",
    )


def blocked_node(pods: int, seconds: float) -> Message:
    """
    Tell that a pull from Harbor that hangs keeps a node from pulling anything.
    """
    return Message(
        "HarborCacheNodeBlocked",
        f"A pull from Harbor has been hanging on this node for {seconds:.0f} s, and nothing else"
        f" is pulled meanwhile: {pods} Pods wait. The kubelet pulls one image at a time unless"
        " serializeImagePulls is false. Restarting containerd on the node ends the pull.",
    )


class Reporter:
    """
    Tells, logs and counts what recovery does about Pods; about each thing once per Pod.
    """

    def __init__(self, metrics: ControllerMetrics, events: Events) -> None:
        self._metrics = metrics
        self._events = events

    def moved(self, case: Case, moves: Sequence[Move]) -> None:
        """
        Report that containers of a Pod were moved.
        """
        for cause in {move.cause for move in moves}:
            self._metrics.pods_recovered.labels(cause.value).inc()
        for move in moves:
            rescued = move.to is Side.HARBOR
            _log.info(
                "container rescued" if rescued else "container restored",
                **_about(case),
                node=case.pod.node,
                container=move.container.name,
                image=clean(move.container.image),
                **{"result" if rescued else "original": clean(move.image)},
                cause=move.cause.value,
                waiting=move.container.reason,
                project=move.project,
                state=move.state.value,
            )
            self._event(case, moved(move))

    def left(self, case: Case, several: Sequence[Left]) -> None:
        """
        Report that containers of a Pod are left as they are, and why.
        """
        for found in several:
            key = found.container.name, f"{found.reason} {found.image}"
            if key in case.told:
                continue
            case.told.add(key)
            self._metrics.recovery_failures.labels(found.reason.value).inc()
            _log.warning(
                "container left",
                **_about(case),
                container=found.container.name,
                image=clean(found.image),
                record=clean(found.container.record),
                reason=found.reason.value,
            )
            self._event(case, left(found))

    def refused(self, case: Case, side: Side, error: ClusterError) -> None:
        """
        Report that a Pod's patch was refused: in an Event once for each who does.
        """
        who = refuser(error)
        self._metrics.recovery_failures.labels("forbidden" if who == "RBAC" else "refused").inc()
        _log.warning(
            "move refused",
            **_about(case),
            by=who,
            status=error.status,
            times=case.memory.refusals,
            error=clean(str(error)),
        )
        key = "refused", who
        if key not in case.told:
            case.told.add(key)
            self._event(case, refused(side, error))

    def changed(self, case: Case, why: str) -> None:
        """
        Report that a Pod had changed before its patch arrived.
        """
        self._metrics.recovery_failures.labels("conflict").inc()
        _log.info("pod has changed", **_about(case), why=why)

    def _event(self, case: Case, message: Message) -> None:
        pod = case.pod
        subject = Subject("Pod", pod.name, pod.namespace, pod.uid)
        self._events.tell(subject, message.reason, message.text, warning=message.warning)


def _about(case: Case) -> dict[str, str]:
    return {"namespace": case.pod.namespace, "pod": case.pod.name, "uid": case.pod.uid}


def _advice(found: Left) -> str:
    image, original = clean(found.image), clean(found.original)
    name = found.container.name
    match found.reason:
        case LeftReason.IMAGE_VOLUME:
            return (
                f"The image of a volume can't be pulled from Harbor: {image}. A volume's image"
                f" can't be changed in place: delete the Pod, and use {original} or opt the Pod"
                " out with the label harbor-cache.io/mode: off."
            )
        case LeftReason.EPHEMERAL_CONTAINER:
            return (
                f"The ephemeral container {name} can't pull {image} from Harbor, and can't be"
                f" changed. Add another one (kubectl debug) with {original}."
            )
        case LeftReason.TAKEN_BACK:
            return (
                f"Container {name} waits for {image}, and is not moved to {original} again:"
                " somebody else undid that. Change the image where it is declared, or delete the"
                " Pod."
            )
        case LeftReason.RECORD_MISMATCH:
            return (
                f"Container {name} can't pull {image}, and is not restored: the recorded original"
                f" ({clean(found.container.record) or 'none'}) does not lead to this image."
                " Delete the Pod, or correct its image."
            )
