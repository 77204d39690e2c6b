"""
Look at a cluster, page by page.

What can't be seen is noted and passed over: a survey of most of a cluster is better than none.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from webhook.errors import ClusterError
from webhook.kube.api import Kube
from webhook.kube.listing import MAX_OBJECT_BYTES, Head, Listing
from webhook.pod.decision import Policy
from webhook.survey.model import Survey, Unseen
from webhook.survey.release import CONFIGURATIONS
from webhook.survey.selectors import Installation, find_installation
from webhook.survey.tally import TEMPLATES, Tally
from webhook.text import timestamp


__all__ = ["Progress", "survey"]

_GROUPS: Final = {
    "Namespace": "/api/v1",
    "Deployment": "/apis/apps/v1",
    "StatefulSet": "/apis/apps/v1",
    "DaemonSet": "/apis/apps/v1",
    "ReplicaSet": "/apis/apps/v1",
    "ReplicationController": "/api/v1",
    "CronJob": "/apis/batch/v1",
    "Job": "/apis/batch/v1",
    "Pod": "/api/v1",
}
# What has finished pulls nothing any more.
_QUERIES: Final = {"Pod": {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}}

Progress = Callable[[str, int], None]
"""
Called with what is listed, and with how many of it have been seen.
"""

_Add = Callable[[Mapping[str, Any]], None]


async def survey(
    cluster: Kube,
    name: str,
    policy: Policy,
    namespaces: Sequence[str] = (),
    progress: Progress = lambda _what, _count: None,
) -> Survey:
    """
    Survey *namespaces*, or all, of the cluster called *name*.

    Raises:
        ClusterError: if not even the first look is answered, if a namespace is not there, or if
            nothing at all may be listed.
    """
    listing = _Listing(cluster, progress)
    tally = Tally(policy, await listing.installation())
    known = await listing.namespaces(tally.add_namespace, namespaces)
    for kind in TEMPLATES:
        await listing.objects(kind, _adder(tally, kind), known, everywhere=not namespaces)
    await listing.objects("Pod", tally.add_pod, known, everywhere=not namespaces)
    if not listing.listed:
        raise ClusterError(f"{name}: nothing could be listed: {listing.unseen[-1].why}")
    return tally.result(
        cluster=name,
        generated=timestamp(datetime.now(UTC)),
        unseen=listing.unseen,
    )


def _adder(tally: Tally, kind: str) -> _Add:
    return lambda item: tally.add_workload(kind, item)


class _Listing:
    """
    One pass over a cluster, and what it could not see.
    """

    def __init__(self, cluster: Kube, progress: Progress) -> None:
        self.unseen: list[Unseen] = []
        self.listed = 0
        self._cluster = cluster
        self._progress = progress

    async def installation(self) -> Installation | None:
        """
        Return what the cluster's webhook configurations say about us, or None.

        Raises:
            ClusterError: if there is no API server at all.
        """
        try:
            listed = await self._cluster.get(CONFIGURATIONS)
        except ClusterError as error:
            if error.status in (0, HTTPStatus.UNAUTHORIZED):
                raise
            self.unseen.append(Unseen("the webhook configuration", str(error)))
            return None
        return find_installation(listed.get("items") or ())

    async def namespaces(self, add: _Add, wanted: Sequence[str]) -> Sequence[str]:
        """
        Take in the *wanted* namespaces, or all, and return their names.
        """
        for name in wanted:
            try:
                add(await self._cluster.get(f"/api/v1/namespaces/{name}"))
            except ClusterError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    raise ClusterError(f"namespace {name}: not found", error.status) from error
                self.unseen.append(Unseen(f"the labels of namespace {name}", str(error)))
                add({"metadata": {"name": name}})
        if wanted:
            return wanted
        names: list[str] = []

        def add_named(item: Mapping[str, Any]) -> None:
            names.append(str(item["metadata"]["name"]))
            add(item)

        await self._try("Namespace", "", add_named)
        return names

    async def objects(
        self, kind: str, add: _Add, namespaces: Sequence[str], *, everywhere: bool
    ) -> None:
        """
        Take in all objects of a kind; one namespace at a time where all at once is forbidden.
        """
        if everywhere and (await self._try(kind, "", add, forbidden=bool(namespaces))):
            return
        for namespace in namespaces:
            await self._try(kind, namespace, add)

    async def _try(self, kind: str, namespace: str, add: _Add, *, forbidden: bool = False) -> bool:
        """
        Take in a list, and note why if that fails; False where it is *forbidden*, not noted then.
        """
        what = f"{kind.lower()}s" + (f" in {namespace}" if namespace else "")
        try:
            count = 0
            large: list[Head] = []
            async for item in self._items(kind, namespace, large):
                add(item)
                count += 1
                if not count % 100:
                    self._progress(what, count)
            self._progress(what, count)
            self.listed += 1
            if large:
                self.unseen.append(_passed_over(what, large))
        except ClusterError as error:
            if forbidden and error.status == HTTPStatus.FORBIDDEN:
                return False
            self.unseen.append(Unseen(what, str(error)))
        return True

    async def _items(
        self, kind: str, namespace: str, large: list[Head]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """
        Yield every object of a list once, also where the list has to be begun again.
        """
        where = f"/namespaces/{namespace}" if namespace else ""
        path = f"{_GROUPS[kind]}{where}/{kind.lower()}s"
        seen: set[str] = set()
        for attempt in (1, 2):
            try:
                async for item in Listing(
                    self._cluster, path, _QUERIES.get(kind), too_large=large.append
                ):
                    uid = str(item["metadata"].get("uid", ""))
                    if uid not in seen:
                        seen.add(uid)
                        yield item
            except ClusterError as error:
                # A list that takes minutes outlives its version; it is begun again, once.
                if error.status != HTTPStatus.GONE or attempt > 1:
                    raise
            else:
                return


def _passed_over(what: str, large: Sequence[Head]) -> Unseen:
    first = f"{large[0].namespace}/{large[0].name}".lstrip("/")
    limit = MAX_OBJECT_BYTES >> 20
    return Unseen(
        f"{len(large)} {what}",
        f"larger than {limit} MiB as JSON, {first} among them; the webhook leaves such Pods alone",
    )
