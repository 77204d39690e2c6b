"""
What a real containerd and kubelet say about pulls that fail, and how it is judged.
"""

import asyncio
import contextlib
import time

from collections import Counter

import pytest

from tests.support.kube.client import ApiClient
from tests.support.kube.namespaces import namespaces
from tests.support.node.front import Front, Trouble
from tests.support.node.images import push_image, push_odd_image
from tests.support.node.workloads import container_statuses, pod, pods
from webhook.recovery.failure import PullFailure, classify, tells_the_cause


pytestmark = [pytest.mark.node, pytest.mark.slow]

_ELSEWHERE = "127.0.0.1:9"

# By repository of Docker Hub, or by a host of its own: what is wrong there, and whose fault that is.
_TROUBLES = {
    "limited": (Trouble.LIMITED, PullFailure.LIMITED),
    "denied": (Trouble.DENIED, PullFailure.DENIED),
    "locked": (Trouble.LOCKED, PullFailure.DENIED),
    "absent": (Trouble.ABSENT, PullFailure.ABSENT),
    "broken": (Trouble.BROKEN, PullFailure.UNREACHABLE),
    "closed": (Trouble.CLOSED, PullFailure.UNREACHABLE),
    "dropped": (Trouble.DROPPED, PullFailure.UNREACHABLE),
    "torn": (Trouble.TORN, PullFailure.UNREACHABLE),
    "page": (Trouble.PAGE, PullFailure.UNREACHABLE),
    "platform": (Trouble.NONE, PullFailure.NODE),
    "large": (Trouble.NONE, PullFailure.NODE),
}
_HOSTS = {
    "refused.example": PullFailure.UNREACHABLE,
    "nowhere.example": PullFailure.UNREACHABLE,
    "plain.example": PullFailure.UNREACHABLE,
    "mirror-denied.example": PullFailure.DENIED,
    "mirror-closed.example": PullFailure.UNREACHABLE,
}


async def test_messages_of_a_real_node(make_site):
    """
    Sixteen ways in which a pull fails on a real node are judged right, at most three as unknown.
    """
    site = make_site(disk="120m", kubelet_options=["--registry-qps=0"])
    seen: dict[str, str] = {}
    expected = {name: failure for name, (_, failure) in _TROUBLES.items()} | _HOSTS
    with contextlib.ExitStack() as stack:
        mirrors = {
            name: stack.enter_context(Front(site.upstream.url)) for name in ("denied", "closed")
        }
        mirrors["denied"].trouble = Trouble.DENIED
        mirrors["closed"].trouble = Trouble.CLOSED
        _write_hosts(site, mirrors)
        for name, (trouble, _) in _TROUBLES.items():
            site.front.of[f"library/{name}"] = trouble
        push_image(site.upstream.host, "library/torn:1")
        push_odd_image(site.upstream.host, "library/platform:1", architecture="s390x")
        push_odd_image(site.upstream.host, "library/large:1", size=140_000_000)
        async with (
            ApiClient(site.cluster) as client,
            namespaces(client, service_accounts=True) as make,
        ):
            namespace = await make()
            # The one that fills the disk comes last: nothing can be pulled after it.
            for names in (expected.keys() - {"large"}, {"large"}):
                for name in names:
                    image = f"{name}/library/web:1" if name in _HOSTS else f"{name}:1"
                    (await client.create(pod(namespace, image, name.replace(".", "-")))).expect()
                await _watch(client, namespace, seen, len(seen) + len(names))

    judged = {name: classify("ErrImagePull", seen[name.replace(".", "-")]) for name in expected}
    for name in expected:
        print(f"{judged[name]}: {seen[name.replace('.', '-')]}")
    wrong = {
        name: (str(judged[name]), str(right))
        for name, right in expected.items()
        if judged[name] not in (right, PullFailure.UNKNOWN)
    }
    counts = Counter(judged.values())
    print(f"{len(judged)} messages: {len(wrong)} wrong, {counts[PullFailure.UNKNOWN]} unknown")
    assert {} == wrong
    assert counts[PullFailure.UNKNOWN] <= 3


async def _watch(client, namespace, seen, count):
    """
    Keep the first message of each Pod that tells why its pull failed.
    """
    deadline = time.monotonic() + 150
    while len(seen) < count:
        found = await pods(client, namespace)
        assert time.monotonic() < deadline, {
            each["metadata"]["name"]: container_statuses(each)
            for each in found
            if each["metadata"]["name"] not in seen
        }
        for each in found:
            for status in container_statuses(each):
                waiting = status["state"].get("waiting") or {}
                message = waiting.get("message") or ""
                failed = waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff")
                if failed and tells_the_cause(message):
                    seen.setdefault(each["metadata"]["name"], message)
        await asyncio.sleep(0.2)


def _write_hosts(site, mirrors):
    places = {
        "refused.example": _alone(f"http://{_ELSEWHERE}"),
        "nowhere.example": _alone("http://registry.invalid"),
        # HTTPS is spoken to a registry that does not.
        "plain.example": _alone(f"https://{site.upstream.host}"),
        "mirror-denied.example": _mirrored(site, mirrors["denied"], Trouble.LIMITED),
        "mirror-closed.example": _mirrored(site, mirrors["closed"], Trouble.ABSENT),
    }
    for host, text in places.items():
        directory = site.node.directory / "registries" / host
        directory.mkdir()
        (directory / "hosts.toml").write_text(text)


def _alone(url):
    """
    Return a file that sends containerd to *url* and to nothing else.
    """
    return f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'


def _mirrored(site, mirror, upstream):
    """
    Return a file that asks *mirror* first; the upstream behind it has a trouble of its own.
    """
    site.front.of["library/web"] = upstream
    return (
        f'server = "{site.front.url}"\n[host."{mirror.url}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
    )
