"""
The way to an API server: the only module that imports `kubernetes`.

What comes back is JSON as it is on the wire: typed models would cost time and memory for each of
thousands of Pods, and would drop fields that they don't know.
"""

import json
import logging
import os
import random
import ssl

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import yaml

from kubernetes.aio import config as _kubernetes_config
from kubernetes.aio.client import ApiClient, Configuration

from webhook import __version__
from webhook.errors import ClusterError
from webhook.text import printable


__all__ = ["Answer", "Kube", "backoff", "connect", "read_answer"]

_config: Any = _kubernetes_config  # It has no types.
_TIMEOUT: Final = 60.0  # Seconds, for one request with its body.
_DEFAULT_KUBECONFIG: Final = "~/.kube/config"
_MOST_ANSWER: Final = 16 * 1024 * 1024
"""
One object has at most 1.5 MiB in etcd; JSON may write six bytes for one of them.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the API server said to one request.

    Attributes:
        status: the HTTP status.
        body: the parsed JSON, or an empty dictionary where there was none.
        warnings: the texts of its Warning headers, as they came.
    """

    status: int
    body: Any
    warnings: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """
        Return the API server's own words, if it has any.
        """
        text = self.body.get("message") if isinstance(self.body, dict) else None
        return printable(text) if isinstance(text, str) and text else f"HTTP {self.status}"

    def expect(self) -> dict[str, Any]:
        """
        Return the body of a success.

        Raises:
            ClusterError: with the status, if this is none.
        """
        if not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES or not isinstance(
            self.body, dict
        ):
            raise self.error()
        return self.body

    def error(self) -> ClusterError:
        """
        Return this answer as an error.
        """
        details = self.body.get("details") if isinstance(self.body, dict) else None
        return ClusterError(self.message, self.status, detailed=bool(details))


class Kube:
    """
    One API server; made by `connect`.
    """

    def __init__(self, client: ApiClient, timeout: float = _TIMEOUT, name: str = "") -> None:
        self.name = name
        """What the kubeconfig calls the cluster; empty within a Pod."""
        self._client = client
        self._timeout = timeout

    @property
    def url(self) -> str:
        """
        Return where the API server is.
        """
        return str(self._client.configuration.host)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """
        Send one request, and return the answer whatever its status.

        Raises:
            ClusterError: if there is no answer, or none that is JSON.
        """
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        response = await self._send(
            method, path, timeout=timeout, body=body, query=query, content_type=content_type
        )
        try:
            return await read_answer(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._no_answer(error) from error
        except ValueError as error:
            raise ClusterError(f"{self.url}: answers {path} with {error}") from error
        finally:
            response.release()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """
        Return what is at *path*.

        Raises:
            ClusterError: with the status, if that is not 200.
        """
        answer = await self.request("GET", path, query=query)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise ClusterError(f"{self.url}: does not accept these credentials", answer.status)
        if answer.status != HTTPStatus.OK:
            raise answer.error()
        return answer.body

    async def text(self, path: str) -> str:
        """
        Return what is at *path* as it is, such as the API server's own metrics.

        Raises:
            ClusterError: with the status, if that is not 200.
        """
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        response = await self._send("GET", path, timeout=timeout, accept="text/plain")
        try:
            if response.status != HTTPStatus.OK:
                raise ClusterError(f"HTTP {response.status}", response.status)
            return await response.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._no_answer(error) from error
        finally:
            response.release()

    async def replace(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        """
        Write *item* to *path*; its ``resourceVersion`` makes this a compare-and-swap.

        Raises:
            ClusterError: with 409 if somebody else was quicker.
        """
        return (await self.request("PUT", path, item)).expect()

    async def create(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        """
        Create *item* in the collection at *path*.

        Raises:
            ClusterError: with 409 if it is there already.
        """
        return (await self.request("POST", path, item)).expect()

    async def json_patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """
        Apply a JSON Patch.

        Raises:
            ClusterError: with 422 and without details if a ``test`` failed; with what a policy said.
        """
        content_type = "application/json-patch+json"
        return (await self.request("PATCH", path, operations, content_type=content_type)).expect()

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, silence: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Open an answer that is read bit by bit, whatever its status; closed afterwards.

        Args:
            path: what to get.
            query: as in `request`.
            silence: it is given up after so many seconds without a byte.

        Raises:
            ClusterError: if there is no answer, or it breaks off while it is read.
        """
        timeout = aiohttp.ClientTimeout(
            connect=self._timeout, sock_read=self._timeout if silence is None else silence
        )
        response = await self._send("GET", path, timeout=timeout, query=query)
        try:
            yield response
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._no_answer(error) from error
        finally:
            # Gives the connection back where all was read, and closes it otherwise.
            response.release()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- aiohttp's own.
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> aiohttp.ClientResponse:
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": accept, "Content-Type": content_type}
        try:
            method, url, headers, _, _ = await self._client.param_serialize(
                method, target, header_params=headers, auth_settings=["BearerToken"]
            )
            answer = await self._client.call_api(
                method, url, header_params=headers, body=body, _request_timeout=timeout
            )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._no_answer(error) from error
        except _config.ConfigException as error:
            raise ClusterError(f"the credentials can't be used: {error}") from error
        response: aiohttp.ClientResponse = answer.response
        return response

    def _no_answer(self, error: Exception) -> ClusterError:
        late = isinstance(error, TimeoutError)
        return ClusterError(f"{self.url}: {self._why(error)}", late=late)

    def _why(self, error: Exception) -> str:
        """
        Say in a few words why there was no answer.
        """
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return f"its certificate can't be trusted: {error.certificate_error}"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"can't be reached: {error.os_error.strerror or error.os_error}"
        return f"the connection broke: {error}" if str(error) else "the connection broke"


async def read_answer(response: aiohttp.ClientResponse) -> Answer:
    """
    Read *response* to its end, up to a bound that no object of Kubernetes reaches.

    Raises:
        ValueError: if a success is no JSON, or anything is longer; the message says what it is.
    """
    text = bytearray()
    async for chunk in response.content.iter_any():
        text += chunk
        if len(text) > _MOST_ANSWER:
            raise ValueError(f"more than {_MOST_ANSWER} bytes")
    try:
        parsed = json.loads(text) if text else {}
    except ValueError as error:
        if response.status < HTTPStatus.BAD_REQUEST:
            raise ValueError("no JSON") from error
        parsed = {}
    return Answer(response.status, parsed, tuple(response.headers.getall("Warning", ())))


def backoff(failures: int, longest: float = 30.0) -> float:
    """
    Return how long to wait, in seconds, after the n-th failure in a row: doubled, and jittered.
    """
    ceiling: float = min(longest, 0.25 * 2.0 ** min(failures, 10))
    return ceiling * random.uniform(0.5, 1)  # noqa: S311 -- No secret.


@asynccontextmanager
async def connect(
    kubeconfig: Path | None = None,
    timeout: float = _TIMEOUT,  # noqa: ASYNC109 -- Of each request, not of this.
    *,
    context: str | None = None,
) -> AsyncIterator[Kube]:
    """
    Open a way to the API server, and close it afterwards.

    Without *kubeconfig*: what ``KUBECONFIG`` names, else ``~/.kube/config`` if it is there, else
    the ServiceAccount of the Pod that this runs in.  *context* is one of the kubeconfig's, if not
    its current one.

    Raises:
        ClusterError: if none of these can be used.
    """
    configuration = Configuration()
    cluster = await _load(configuration, kubeconfig, context)
    try:
        client = ApiClient(configuration)
    except (OSError, ssl.SSLError) as error:
        raise ClusterError(f"{_name(kubeconfig)}: certificates can't be used: {error}") from error
    client.user_agent = f"harbor-cache/{__version__}"
    async with client:
        yield Kube(client, timeout, cluster)


async def _load(configuration: Configuration, kubeconfig: Path | None, context: str | None) -> str:
    """
    Fill in *configuration*, and return what the kubeconfig calls the cluster.
    """
    name = _name(kubeconfig)
    # KUBECONFIG may name several files, some of which need not be there.
    if not any(os.path.isfile(path) for path in name.split(os.pathsep)):  # noqa: ASYNC240, PTH113
        if kubeconfig is not None or os.environ.get("KUBECONFIG"):
            raise ClusterError(f"{name}: No such file")
        if context is not None:
            raise ClusterError(f"There is no kubeconfig, so none with a context {context}.")
        try:
            _config.load_incluster_config(client_configuration=configuration)
        except _config.ConfigException as error:
            raise ClusterError(
                "No cluster to ask: there is no --kubeconfig, no KUBECONFIG, no "
                f"{_DEFAULT_KUBECONFIG}, and this is no Pod with a ServiceAccount."
            ) from error
        return ""
    try:
        with _complaints() as complaints:
            await _config.load_kube_config(
                config_file=name,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        contexts, current = _config.list_kube_config_contexts(name)
        cluster = next((c for c in contexts if c["name"] == context), current)["context"][
            "cluster"
        ]
    except _config.ConfigException as error:
        raise ClusterError(f"{name}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ClusterError(f"{name}{where}: no valid YAML") from error
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        # The loader indexes what it reads, and complains in Python's words.
        raise ClusterError(f"{name}: is no kubeconfig that can be used ({error})") from error

    if complaints and not (configuration.api_key or configuration.cert_file):
        raise ClusterError(f"{name}: no credentials can be had: {'; '.join(complaints)}")
    return str(cluster)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """
    Yield what the client only logs, before it goes on as nobody: that a plugin failed.
    """
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(printable(record.getMessage()))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield complaints
    finally:
        logging.getLogger().removeHandler(handler)


def _name(kubeconfig: Path | None) -> str:
    return str(
        kubeconfig or os.environ.get("KUBECONFIG") or Path(_DEFAULT_KUBECONFIG).expanduser()
    )
