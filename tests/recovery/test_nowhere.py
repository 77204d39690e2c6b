"""
How often an image is moved that neither source serves: by the clock, with a kubelet that backs off.
"""

import itertools
import math

from types import MappingProxyType

import pytest

from tests.support.recovery_pods import HARBOR, SCHEDULED, pod, waiting
from webhook.config import Recovery
from webhook.image.availability import Availability, State
from webhook.image.rules import Rule, Rules
from webhook.pod.decision import Policy
from webhook.recovery.ladder import Waits
from webhook.recovery.memory import PodMemory
from webhook.recovery.move import Health
from webhook.recovery.plan import Knowledge, plan
from webhook.recovery.waiting import watched_pod


ORIGINAL = "acme/private:1"
CACHED = f"{HARBOR}/p/{ORIGINAL}"
KNOWN = Knowledge(
    policy=Policy(Rules(HARBOR, (Rule("docker.io", "p"),))),
    config=Recovery(),
    availability=Availability(State.AVAILABLE, MappingProxyType({"p": State.AVAILABLE})),
    health=lambda _: Health(State.AVAILABLE, 1e6),
    mode=lambda _: "enforce",
)
SAYS = {
    "absent": "not found",
    "denied": "pull access denied, repository does not exist or may require authorization",
    "limited": "429 Too Many Requests",
}


def moves_until(end, harbor, upstream):
    """
    Return when a container was moved, in seconds after its creation, second by second until *end*.
    """
    answers = {CACHED: SAYS[harbor], ORIGINAL: SAYS[upstream]}
    image, memory, moved = CACHED, PodMemory(), []
    back_off = {CACHED: (0, 0.0), ORIGINAL: (0, 0.0)}  # How long after a failure, and until when.
    for now in map(float, range(end)):
        wait, until = back_off[image]
        reason = "ImagePullBackOff"
        if now >= until:
            # The kubelet's own: by image, doubled up to 300 s, and forgotten after 600 s.
            wait = min(wait * 2, 300) if wait and now < until + 600 else 10
            back_off[image] = wait, now + wait
            reason = "ErrImagePull"
        status = waiting("web", image, reason, f'failed to pull "{image}": {answers[image]}')
        seen = watched_pod(pod({"web": image}, [status], records={"web": ORIGINAL}))
        memory = memory.seen(seen, now, Waits(), changed=True)
        found = plan(seen, memory, KNOWN, now=now, wall=SCHEDULED + now)
        if found.moves:
            memory = memory.moved(found.moves, now, Waits())
            image = found.moves[0].image
            moved.append(now)
    return moved


@pytest.mark.parametrize(
    ("harbor", "upstream"),
    [("absent", "absent"), ("absent", "limited"), ("limited", "denied"), ("limited", "limited")],
)
def test_moves_follow_the_logarithm_of_time(harbor, upstream):
    """
    In half an hour there are at most as many as rungs have passed, and the waits never shrink.
    """
    moved = moves_until(1800, harbor, upstream)

    print(f"{harbor} at Harbor, {upstream} upstream: {len(moved)} moves, at {moved}")
    assert 1 <= len(moved) <= 1 + math.log2(1800 / 30)
    gaps = [after - before for before, after in itertools.pairwise(moved)]
    assert all(gap >= min(30 * 2**rung, 600) for rung, gap in enumerate(gaps))
