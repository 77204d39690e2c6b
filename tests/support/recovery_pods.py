"""
Pods as the API server shows them, for the tests of recovery.
"""

from webhook.pod.model import RECORD_PREFIX, REWRITTEN_LABEL


HARBOR = "harbor.example.com"
UID = "6f1c2f0e-7d0f-4f5c-a1c0-5d1d0c2b8a10"
SCHEDULED = 1_000_000.0
SCHEDULED_TEXT = "1970-01-12T13:46:40Z"


def waiting(name, image, reason="ErrImagePull", message=None):
    """
    Return the status of a container whose image can't be had.
    """
    if message is None:
        message = f'failed to resolve reference "{image}": {image}: not found'
    state = {"waiting": {"reason": reason, "message": message}}
    return _status(name, image, state)


def creating(name, image, reason="ContainerCreating"):
    """
    Return the status of a container that has never started.
    """
    return _status(name, image, {"waiting": {"reason": reason}})


def running(name, image):
    """
    Return the status of a container that runs.
    """
    state = {"running": {"startedAt": SCHEDULED_TEXT}}
    return {**_status(name, image, state), "containerID": "containerd://1", "started": True}


def ended(name, image, code=0):
    """
    Return the status of a container that has ended.
    """
    state = {"terminated": {"exitCode": code}}
    return {**_status(name, image, state), "containerID": "containerd://1"}


def _status(name, image, state):
    return {
        "name": name,
        "image": image,
        "state": state,
        "lastState": {},
        "restartCount": 0,
        "started": False,
    }


def pod(containers, statuses, *, records=None, init=(), init_statuses=(), **spec):
    """
    Return a Pod of *containers* (name → image) that carries our label and *records*.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": UID,
            "labels": {REWRITTEN_LABEL: "true"},
            "annotations": {
                RECORD_PREFIX + name: image for name, image in (records or {}).items()
            },
        },
        "spec": {
            "nodeName": "node1",
            "containers": [{"name": n, "image": i} for n, i in containers.items()],
            "initContainers": list(init),
            **spec,
        },
        "status": {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "True",
                    "lastTransitionTime": SCHEDULED_TEXT,
                }
            ],
            "containerStatuses": list(statuses),
            "initContainerStatuses": list(init_statuses),
        },
    }
