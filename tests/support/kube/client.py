"""
A tiny client of the API server: JSON in, JSON out, with the warnings that came along.

It knows nothing of types on purpose: the tests send and read what is on the wire.
"""

import io
import json

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from webhook.demo.cluster import Cluster


__all__ = ["Answer", "ApiClient", "ApiError", "object_path"]

_CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}


class ApiError(AssertionError):
    """
    The API server said no where the test needs a yes.
    """


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the API server said.
    """

    status: int
    body: Any
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def expect(self) -> Any:
        """
        Return the body; raise `ApiError` with the API server's words if it said no.
        """
        if not self.ok:
            message = self.body.get("message") if isinstance(self.body, dict) else self.body
            raise ApiError(f"HTTP {self.status}: {message}")
        return self.body


class ApiClient:
    """
    One user's way to an API server; an asynchronous context manager.
    """

    def __init__(self, cluster: Cluster, user: str = "admin", token: str | None = None) -> None:
        self._url = cluster.url
        self._ssl = cluster.ssl_context()
        self._headers = {"Authorization": f"Bearer {token or cluster.tokens[user]}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._url,
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=self._ssl, limit=0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Send one request; `body` is JSON, or text that is sent as it is.
        """
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        # A file, since aiohttp warns of large strings.
        data = None if text is None else io.BytesIO(text.encode())
        async with self._session.request(
            method,
            path,
            data=data,
            params=query,
            headers={"Content-Type": content_type, **(headers or {})},
        ) as response:
            text = await response.text()
            parsed = json.loads(text) if response.content_type == "application/json" else text
            warnings = tuple(
                # RFC 7234: 299 - "text", quotes and backslashes escaped.
                line.split(" ", 2)[2][1:-1].replace('\\"', '"').replace("\\\\", "\\")
                for line in response.headers.getall("Warning", [])
            )
            return Answer(response.status, parsed, warnings)

    async def create(self, thing: dict[str, Any], *, dry_run: bool = False) -> Answer:
        """
        Create an object; its kind and namespace say where.
        """
        query = {"dryRun": "All"} if dry_run else None
        return await self.request("POST", _collection(thing), thing, query=query)

    async def get(self, path: str, **query: str) -> Any:
        """
        Return what is at a path; raise `ApiError` if nothing is.
        """
        return (await self.request("GET", path, query=query)).expect()

    async def delete(self, path: str, *, now: bool = True) -> Answer:
        """
        Delete what is at a path, at once unless told otherwise.
        """
        return await self.request(
            "DELETE", path, query={"gracePeriodSeconds": "0"} if now else None
        )

    async def patch(
        self, path: str, patch: Any, *, kind: str = "strategic-merge-patch", **query: str
    ) -> Answer:
        """
        Patch what is at a path; kinds: strategic-merge-patch, merge-patch, json-patch.
        """
        return await self.request(
            "PATCH", path, patch, content_type=f"application/{kind}+json", query=query
        )

    async def apply(self, thing: dict[str, Any], **query: str) -> Answer:
        """
        Apply an object as `kubectl apply --server-side` does.
        """
        return await self.request(
            "PATCH",
            object_path(thing),
            thing,
            content_type="application/apply-patch+yaml",
            query={"fieldManager": "tests", "force": "true", **query},
        )


def object_path(thing: dict[str, Any]) -> str:
    """
    Return the path of an object.
    """
    return f"{_collection(thing)}/{thing['metadata']['name']}"


def _collection(thing: dict[str, Any]) -> str:
    version, kind = thing["apiVersion"], thing["kind"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = _plural(kind.lower())
    if kind in _CLUSTER_SCOPED:
        return f"{root}/{plural}"
    return f"{root}/namespaces/{thing['metadata']['namespace']}/{plural}"


def _plural(kind: str) -> str:
    if kind.endswith("y"):
        return f"{kind[:-1]}ies"
    if kind == "endpoints":
        return kind
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"
