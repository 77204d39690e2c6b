"""
Look at an installation through the API server: its objects, and what every replica says of itself.
"""

import asyncio
import re

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from msgspec import convert

from webhook.errors import ClusterError, ConfigError, QuarantineError
from webhook.image.quarantine import Quarantine
from webhook.kube.api import Kube
from webhook.kube.listing import Listing
from webhook.pod.model import MODE_LABEL, Pod
from webhook.pod.origin import origins, source_of
from webhook.survey.model import Unseen
from webhook.survey.release import Release, find_release, read_config
from webhook.survey.selectors import find_installation
from webhook.survey.status.facts import Facts, Replica, Team


__all__ = ["look"]

_POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
_BINDINGS: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
_CHART: Final = "harbor-cache-webhook-"
_OURS: Final = "harbor-cache.io/"
_UNFINISHED: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
_MOVES: Final = {"fieldSelector": "source=harbor-cache-controller", "limit": "500"}
_SECONDS: Final = 10.0
_MOST_EVENTS: Final = 10
_PULLS: Final = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError"}
_FAILED_OPEN: Final = re.compile(
    r"^apiserver_admission_webhook_fail_open_count\{"
    r'name="(?P<name>[^"]*\.harbor-cache\.io)",[^}]*\} (?P<count>\S+)$',
    re.MULTILINE,
)


async def look(kube: Kube, namespace: str, directory: Path) -> Facts:
    """
    Return what is to be seen of the release in *namespace*, or of the one that there is.

    *directory* takes files that the config names.

    Raises:
        ClusterError: if the API server can't be asked, or there is no release.
    """
    looker = _Looker(kube)
    release = await looker.release(namespace)
    facts = looker.facts = Facts(kube.url, datetime.now(UTC), release.namespace, release.name)
    facts.unseen = looker.unseen
    facts.configuration = release.configuration or None
    await asyncio.gather(
        looker.config(release, directory),
        looker.deployments(),
        looker.replicas(),
        looker.lease(),
        looker.policies(),
        looker.quarantine(),
        looker.events(),
        looker.failed_open(),
    )
    await looker.teams()
    return facts


class _Looker:
    """
    One look at everything; what fails is noted, and the rest goes on.
    """

    facts: Facts

    def __init__(self, kube: Kube) -> None:
        self.unseen: list[Unseen] = []
        self._kube = kube

    async def release(self, namespace: str) -> Release:
        """
        Return the release: by its webhook configuration, or by its Deployment where that is gone.
        """
        try:
            found = await find_release(self._kube, namespace)
        except ClusterError as error:
            if not error.status or error.status == HTTPStatus.UNAUTHORIZED:
                raise
            self.unseen.append(Unseen("the webhook configuration", str(error)))
            found = None
        if found is not None:
            return found
        where = f"/namespaces/{namespace}" if namespace else ""
        query = {"labelSelector": "app.kubernetes.io/component in (webhook,controller)"}
        items = await self._items(f"/apis/apps/v1{where}/deployments", query)
        for item in items:
            metadata = item["metadata"]
            if str(metadata.get("labels", {}).get("helm.sh/chart", "")).startswith(_CHART):
                name = metadata["name"].removesuffix("-controller")
                return Release(metadata["namespace"], name, {})
        raise ClusterError(
            f"harbor-cache-webhook is not installed in {f'namespace {namespace} of ' * bool(namespace)}"
            f"{self._kube.url}"
        )

    async def config(self, release: Release, directory: Path) -> None:
        try:
            self.facts.config = await read_config(self._kube, release, directory)
        except ConfigError as error:
            self.facts.config_problem = str(error).splitlines()[0]
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                self.facts.config_problem = str(error)
            else:
                self.unseen.append(Unseen("the config", str(error)))

    async def deployments(self) -> None:
        root = f"/apis/apps/v1/namespaces/{self.facts.namespace}/deployments"
        for component, suffix in (("webhook", ""), ("controller", "-controller")):
            item = await self._get(f"{root}/{self.facts.name}{suffix}", f"the {component}")
            self.facts.deployments[component] = item
            labels = (item or {}).get("metadata", {}).get("labels") or {}
            self.facts.chart = self.facts.chart or str(labels.get("helm.sh/chart", ""))

    async def replicas(self) -> None:
        path = f"/api/v1/namespaces/{self.facts.namespace}/pods"
        query = {"labelSelector": "app.kubernetes.io/component in (webhook,controller)"}
        pods = [
            pod
            for pod in await self._items(path, query, "our Pods")
            if _belongs(pod, self.facts.name) and "deletionTimestamp" not in pod["metadata"]
        ]
        self.facts.replicas = await asyncio.gather(*map(self._ask, pods))
        self.facts.replicas.sort(key=lambda replica: (replica.component != "webhook", replica.pod))

    async def _ask(self, pod: Mapping[str, Any]) -> Replica:
        metadata, spec = pod["metadata"], pod["spec"]
        component = metadata["labels"]["app.kubernetes.io/component"]
        name, image = metadata["name"], spec["containers"][0]["image"]
        trouble = _trouble(pod)
        ports = {p.get("name"): p["containerPort"] for p in spec["containers"][0].get("ports", ())}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{name}"
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await self._kube.get(f"{path}:{ports.get('ops', 8080)}/proxy/status")
        except (ClusterError, TimeoutError) as error:
            why = str(error) or f"no answer within {_SECONDS:g} s"
            if not trouble:
                self.unseen.append(Unseen(f"what {name} knows", why))
            return Replica(component, name, image, trouble, None, why)
        return Replica(component, name, image, trouble, answer if isinstance(answer, dict) else {})

    async def lease(self) -> None:
        root = f"/apis/coordination.k8s.io/v1/namespaces/{self.facts.namespace}/leases"
        self.facts.lease = await self._get(f"{root}/{self.facts.name}-controller", "the Lease")

    async def policies(self) -> None:
        prefix = f"{self.facts.name}-controller-"
        try:
            listed = [(await self._kube.get(path))["items"] for path in (_POLICIES, _BINDINGS)]
        except ClusterError as error:
            self.unseen.append(Unseen("the fences around the controller", str(error)))
            return
        bound = {binding["spec"]["policyName"] for binding in listed[1]}
        self.facts.policies = {
            policy["metadata"]["name"].removeprefix(prefix): policy
            for policy in listed[0]
            if policy["metadata"]["name"].startswith(prefix)
            and policy["metadata"]["name"] in bound
        }

    async def quarantine(self) -> None:
        path = f"/api/v1/namespaces/{self.facts.namespace}/configmaps/{self.facts.name}-quarantine"
        item = await self._get(path, "the quarantine")
        text = ((item or {}).get("data") or {}).get("quarantine.json", "")
        try:
            self.facts.quarantine = Quarantine.read(text).at(self.facts.now)
        except QuarantineError as error:
            self.unseen.append(Unseen("the quarantine", str(error)))

    async def events(self) -> None:
        try:
            items = (await self._kube.get("/api/v1/events", _MOVES)).get("items") or ()
        except ClusterError as error:
            self.unseen.append(Unseen("the last moves", str(error)))
            return
        newest = sorted(items, key=lambda event: event.get("lastTimestamp") or "", reverse=True)
        self.facts.events = newest[:_MOST_EVENTS]

    async def failed_open(self) -> None:
        try:
            text = await self._kube.text("/metrics")
        except ClusterError:
            return  # Few may read it, and it is no part of the installation.
        counts: dict[str, int] = {}
        for match in _FAILED_OPEN.finditer(text):
            counts[match["name"]] = counts.get(match["name"], 0) + int(float(match["count"]))
        self.facts.failed_open = counts

    async def teams(self) -> None:
        installation = find_installation([self.facts.configuration or {}])
        namespaces = await self._items("/api/v1/namespaces", None, "namespaces")
        for namespace in namespaces:
            name = namespace["metadata"]["name"]
            labels = namespace["metadata"].get("labels") or {}
            mistyped = [key for key in labels if key.startswith(_OURS) and key != MODE_LABEL]
            if MODE_LABEL not in labels and not mistyped:
                continue
            team = Team(name, labels.get(MODE_LABEL), mistyped)
            self.facts.teams.append(team)
            if team.label not in ("enforce", "audit"):
                continue
            named = {**labels, "kubernetes.io/metadata.name": name}
            if installation.entries:
                team.excluded = team.label not in installation.modes(named)
            if self.facts.config is not None:
                await self._count(team)

    async def _count(self, team: Team) -> None:
        rules = self.facts.config.rules if self.facts.config else None
        try:
            path = f"/api/v1/namespaces/{team.name}/pods"
            async for item in Listing(self._kube, path, _UNFINISHED):
                if rules is not None:
                    team.pods[str(source_of(origins(convert(item, Pod), rules)))] += 1
                team.waiting += _waits(item)
        except ClusterError as error:
            self.unseen.append(Unseen(f"the Pods of {team.name}", str(error)))

    async def _get(self, path: str, what: str) -> Mapping[str, Any] | None:
        """
        Return one object, or None if it is not there; anything else is noted.
        """
        try:
            item: Mapping[str, Any] = await self._kube.get(path)
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                self.unseen.append(Unseen(what, str(error)))
            return None
        return item

    async def _items(
        self, path: str, query: Mapping[str, str] | None, what: str = ""
    ) -> list[dict[str, Any]]:
        """
        Return a list; what can't be listed is noted under *what*, or raised without one.
        """
        items: list[dict[str, Any]] = []
        try:
            async for item in Listing(self._kube, path, query):
                items.append(item)  # noqa: PERF401 -- Those before an error.
        except ClusterError as error:
            if not what:
                raise
            self.unseen.append(Unseen(what, str(error)))
        return items


def _belongs(pod: Mapping[str, Any], name: str) -> bool:
    """
    Tell a Pod of our Deployments by its ServiceAccount, which is called like the release.
    """
    return pod["spec"].get("serviceAccountName") in (name, f"{name}-controller")


def _trouble(pod: Mapping[str, Any]) -> str:
    """
    Say why a Pod is of no use now, or return an empty string.
    """
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            last = (container.get("lastState") or {}).get("terminated") or {}
            words = str(last.get("message") or waiting.get("message") or "").strip()
            return f"{waiting.get('reason')}: {words.splitlines()[-1] if words else ''}".rstrip(
                ": "
            )
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    if ready is None or ready["status"] != "True":
        other = ready or conditions.get("PodScheduled") or {}
        phase = status.get("phase", "Pending")
        return f"not ready ({other.get('message') or other.get('reason') or phase})"
    return ""


def _waits(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    kinds = ("containerStatuses", "initContainerStatuses")
    return any(
        ((container.get("state") or {}).get("waiting") or {}).get("reason") in _PULLS
        for kind in kinds
        for container in status.get(kind) or ()
    )
