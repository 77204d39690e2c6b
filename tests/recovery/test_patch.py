import copy

import jsonpatch
import pytest

from tests.support.recovery_pods import HARBOR, pod, waiting
from webhook.errors import RecoveryError
from webhook.image.availability import State
from webhook.recovery.move import Cause, Move, Side
from webhook.recovery.patch import move_patch
from webhook.recovery.waiting import watched_pod


CACHED = f"{HARBOR}/proxy.docker.io/library/nginx:1"


def stuck():
    """
    Return a Pod with two stuck containers, and what is to be done about it.
    """
    body = pod(
        {"web": CACHED, "side": CACHED},
        [waiting("side", CACHED, "ImagePullBackOff"), waiting("web", CACHED)],
        records={"web": "nginx:1", "side": "docker.io/nginx:1"},
    )
    restores = [
        Move(
            container=container,
            to=Side.UPSTREAM,
            image=container.record,
            identity="docker.io/library/nginx:1",
            project="proxy.docker.io",
            state=State.AVAILABLE,
            cause=Cause.FAILS,
        )
        for container in watched_pod(body).waiting
    ]
    return body, restores


def test_only_images_change():
    """
    The patch applies, and puts each container's record into its image.
    """
    body, restores = stuck()
    before = copy.deepcopy(body)

    result = jsonpatch.apply_patch(body, move_patch(body, restores))

    assert before == body
    before["spec"]["containers"][0]["image"] = "nginx:1"
    before["spec"]["containers"][1]["image"] = "docker.io/nginx:1"
    assert before == result


def test_everything_is_tested_first():
    """
    The Pod's uid, and the container's name, image and waiting reason all stand in a test.
    """
    body, restores = stuck()

    patch = move_patch(body, restores[1:])

    assert [
        {"op": "test", "path": "/metadata/uid", "value": body["metadata"]["uid"]},
        {"op": "test", "path": "/spec/containers/1/name", "value": "side"},
        {"op": "test", "path": "/status/containerStatuses/0/name", "value": "side"},
        {"op": "test", "path": "/spec/containers/1/image", "value": CACHED},
        {
            "op": "test",
            "path": "/status/containerStatuses/0/state/waiting/reason",
            "value": "ImagePullBackOff",
        },
        {"op": "replace", "path": "/spec/containers/1/image", "value": "docker.io/nginx:1"},
    ] == patch


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: body["spec"]["containers"].reverse(), id="another order"),
        pytest.param(
            lambda body: body["spec"]["containers"][0].update(image="nginx:2"), id="another image"
        ),
        pytest.param(lambda body: body["spec"]["containers"].pop(), id="a container less"),
        pytest.param(
            lambda body: body["status"]["containerStatuses"][1].update(state={"running": {}}),
            id="one runs",
        ),
        pytest.param(lambda body: body["status"]["containerStatuses"].clear(), id="no statuses"),
    ],
)
def test_a_pod_that_has_changed_is_left(change):
    """
    A patch that was planned for another state of the Pod is not sent.
    """
    body, restores = stuck()
    change(body)

    with pytest.raises(RecoveryError, match="has changed"):
        move_patch(body, restores)
