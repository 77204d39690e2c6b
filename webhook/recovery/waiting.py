"""
What of a Pod matters to recovery: small enough to keep for every Pod that waits.

The reasons and messages of waiting containers are the kubelet's (``pkg/kubelet/images``).
"""

import re

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from webhook.errors import InvalidReferenceError
from webhook.image.reference import Reference
from webhook.pod.model import RECORD_PREFIX, Place, Pod
from webhook.recovery.failure import PullFailure, classify, tells_the_cause


__all__ = [
    "PULL_FAILURES",
    "StartedContainer",
    "WaitingContainer",
    "WatchedPod",
    "names",
    "watched_pod",
]

PULL_FAILURES: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "ImageInspectError",
        "ErrImageNeverPull",
    }
)
"""
The reasons by which a container waits after its image could not be had.  ``InvalidImageName`` is
not among them: the original is as invalid.
"""

_MOST: Final = 1024
"""
So much of a message is kept, in characters.
"""

_NOT_YET_STARTED: Final = frozenset({"ContainerCreating", "PodInitializing"})
_STATUSES: Final = {
    Place.CONTAINERS: "containerStatuses",
    Place.INIT_CONTAINERS: "initContainerStatuses",
    Place.EPHEMERAL_CONTAINERS: "ephemeralContainerStatuses",
}


@dataclass(frozen=True, slots=True)
class WaitingContainer:
    """
    A container that waits for its image, or may be waiting for it.

    Attributes:
        place: the list that it stands in.
        index: its position there.
        status_index: the position of its status in the list of statuses.
        name: its name.
        image: its image now.
        record: its recorded original image; empty if there is none.
        reason: why it waits, in the kubelet's word.
        names_image: whether the kubelet's message is about this container's own image.
        volume_image: the image of a volume that the message is about instead, or empty.
        may_hang: it never had a container ID, it is this container's turn to be pulled, and
            nothing is said about a pull of this image that has ended.
        failure: whose fault the failed pull is; None where the message does not say.
        message: what the kubelet says about it, cut.
    """

    place: Place
    index: int
    status_index: int
    name: str
    image: str
    record: str
    reason: str
    names_image: bool
    volume_image: str
    may_hang: bool
    failure: PullFailure | None = None
    message: str = ""

    @property
    def failing(self) -> bool:
        """
        Tell whether the kubelet has reported that the pull failed.
        """
        return self.reason in PULL_FAILURES

    @property
    def image_pointer(self) -> str:
        """
        Return the JSON Pointer of the image within the Pod.
        """
        return f"/spec/{self.place}/{self.index}/image"

    @property
    def name_pointer(self) -> str:
        """
        Return the JSON Pointer of the container's name within the Pod.
        """
        return f"/spec/{self.place}/{self.index}/name"

    @property
    def status_name_pointer(self) -> str:
        """
        Return the JSON Pointer of the container's name in its status.
        """
        return f"/status/{_STATUSES[self.place]}/{self.status_index}/name"

    @property
    def reason_pointer(self) -> str:
        """
        Return the JSON Pointer of the waiting reason within the Pod.
        """
        return f"/status/{_STATUSES[self.place]}/{self.status_index}/state/waiting/reason"


@dataclass(frozen=True, slots=True)
class StartedContainer:
    """
    A container whose image was on the node: pulled, or there already.

    Attributes:
        name: its name.
        image: its image.
        always_pulled: its image was certainly asked for at the registry.
    """

    name: str
    image: str
    always_pulled: bool


_NOTHING: Final = Pod()


@dataclass(frozen=True, slots=True)
class WatchedPod:
    """
    A Pod that is neither deleted nor finished.

    Attributes:
        namespace: where it is.
        name: its name.
        uid: which Pod of that name it is.
        node: where it was scheduled to; empty before that.
        scheduled: when it was scheduled, in seconds since 1970; None before that.
        waiting: its containers that wait for their image, or may.
        started: its containers that have run.
        version: its resourceVersion as a number, which grows with every change; 0 if unknown.
        reviewed: what admission reads of it.
    """

    namespace: str
    name: str
    uid: str
    node: str
    scheduled: float | None
    waiting: tuple[WaitingContainer, ...]
    started: tuple[StartedContainer, ...]
    version: int = 0
    reviewed: Pod = _NOTHING


def watched_pod(pod: Mapping[str, Any]) -> WatchedPod | None:
    """
    Return what matters of *pod* (as JSON), or None if it is none of our business.

    That is one that is being deleted, and one that has finished.
    """
    metadata: Mapping[str, Any] = pod.get("metadata") or {}
    spec: Mapping[str, Any] = pod.get("spec") or {}
    status: Mapping[str, Any] = pod.get("status") or {}
    if metadata.get("deletionTimestamp") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    annotations = metadata.get("annotations") or {}
    return WatchedPod(
        namespace=metadata.get("namespace", ""),
        name=metadata.get("name", ""),
        uid=metadata.get("uid", ""),
        node=spec.get("nodeName") or "",
        scheduled=_scheduled(status),
        waiting=tuple(_waiting(annotations, spec, status)),
        started=tuple(_started(spec, status)),
        version=_version(metadata.get("resourceVersion")),
        reviewed=msgspec.convert(pod, Pod),
    )


def _version(resource_version: str | None) -> int:
    """
    Return a resourceVersion as a number: they can be compared since Kubernetes 1.35.
    """
    text = resource_version or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _scheduled(status: Mapping[str, Any]) -> float | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
            return _seconds(condition.get("lastTransitionTime"))
    return None


def _seconds(timestamp: str | None) -> float | None:
    try:
        return datetime.fromisoformat(timestamp or "").timestamp()
    except ValueError:
        return None


def _waiting(
    annotations: Mapping[str, str], spec: Mapping[str, Any], status: Mapping[str, Any]
) -> Iterator[WaitingContainer]:
    volumes = [
        volume["image"].get("reference") or ""
        for volume in spec.get("volumes") or ()
        if volume.get("image")
    ]
    initialised = _initialised(spec, status)
    for place, containers, statuses in _lists(spec, status):
        for index, container in enumerate(containers):
            found = _status(statuses, container["name"])
            if found is None:
                continue
            status_index, seen = found
            waiting = (seen.get("state") or {}).get("waiting")
            if waiting is None:
                continue
            reason = waiting.get("reason") or ""
            image, message = container.get("image") or "", waiting.get("message") or ""
            names_image = names(message, image)
            volume_image = (
                "" if names_image else next((v for v in volumes if names(message, v)), "")
            )
            failed = reason in PULL_FAILURES
            failure = classify(reason, message) if failed and tells_the_cause(message) else None
            never_ended = (
                reason in _NOT_YET_STARTED
                # After a move the kubelet goes on to tell of the image before, while it pulls.
                or (failed and not names_image and not volume_image)
                # A runtime cancels a pull that makes no progress.
                or (failure is PullFailure.KUBELET and "context canceled" in message)
            )
            may_hang = (
                never_ended
                and place is not Place.EPHEMERAL_CONTAINERS
                and not seen.get("containerID")
                and not seen.get("lastState")
                and not seen.get("restartCount")
                and _is_due(place, index, spec, initialised)
            )
            if failed or may_hang:
                yield WaitingContainer(
                    place=place,
                    index=index,
                    status_index=status_index,
                    name=container["name"],
                    image=image,
                    record=annotations.get(RECORD_PREFIX + container["name"], ""),
                    reason=reason,
                    names_image=names_image,
                    volume_image=volume_image,
                    may_hang=may_hang,
                    failure=failure,
                    message=message[:_MOST],
                )


def _started(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[StartedContainer]:
    for _, containers, statuses in _lists(spec, status):
        for container in containers:
            found = _status(statuses, container["name"])
            if found is None or not found[1].get("containerID"):
                continue
            state = found[1].get("state") or {}
            if "running" in state or "terminated" in state:
                always = container.get("imagePullPolicy") == "Always"
                yield StartedContainer(container["name"], container.get("image") or "", always)


def _lists(
    spec: Mapping[str, Any], status: Mapping[str, Any]
) -> Iterator[tuple[Place, Sequence[Any], Sequence[Any]]]:
    for place, statuses in _STATUSES.items():
        yield place, spec.get(place) or (), status.get(statuses) or ()


def _status(statuses: Sequence[Any], name: str) -> tuple[int, Mapping[str, Any]] | None:
    for index, status in enumerate(statuses):
        if status.get("name") == name:
            return index, status
    return None


def _initialised(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    """
    Return how many init containers, from the first on, no longer keep the next one waiting.

    A plain one has to end well; a sidecar (``restartPolicy: Always``) has to have started.
    """
    containers = spec.get("initContainers") or ()
    statuses = status.get("initContainerStatuses") or ()
    for index, container in enumerate(containers):
        found = _status(statuses, container["name"])
        seen = found[1] if found else {}
        ended = (seen.get("state") or {}).get("terminated") or {}
        sidecar = container.get("restartPolicy") == "Always"
        if not (seen.get("started") if sidecar else ended and ended.get("exitCode") == 0):
            return index
    return len(containers)


def _is_due(place: Place, index: int, spec: Mapping[str, Any], initialised: int) -> bool:
    if place is Place.INIT_CONTAINERS:
        return index == initialised
    return initialised == len(spec.get("initContainers") or ())


def names(message: str, image: str) -> bool:
    """
    Tell whether a kubelet's *message* is about *image*, and not one that it is a part of.

    containerd writes the tag ``latest`` where there is none, drops the tag beside a digest, and
    writes a short name of Docker Hub out.
    """
    if not image or not message:
        return False
    try:
        whole = str(Reference.parse(image))
    except InvalidReferenceError:
        whole = image
    return any(_names(message, name) for name in {image, whole})


def _names(message: str, image: str) -> bool:
    repository, at, digest = image.partition("@")
    head, colon, _ = repository.rpartition(":")
    tagged = bool(colon) and "/" not in repository[len(head) :]
    forms = {image}
    if at and tagged:
        forms.add(f"{head}@{digest}")
    if not at and not tagged:
        forms.add(f"{image}:latest")
    return any(
        re.search(rf"(?:(?<![\w.:@/-])|(?<=//)){re.escape(form)}(?![\w@/-]|[.:]\w)", message)
        for form in forms
    )
