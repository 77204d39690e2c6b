"""
Lists and watches, read as a stream: one object is in memory at a time, and none of any size.

Whoever may create Pods may create large ones: 1.2 MB of ``<`` are six bytes each in JSON, and
five hundred of these are one page.  So a page that was large makes the next ones small, and an
object over a limit is passed over, with what its head says of it.
"""

import asyncio
import codecs
import json
import random
import re

from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp

from webhook.errors import ClusterError
from webhook.kube.api import Kube, read_answer


__all__ = ["MAX_OBJECT_BYTES", "Change", "Head", "Listing", "watch"]

MAX_OBJECT_BYTES: Final = 1024 * 1024
"""
A larger object, as JSON, is passed over.  The webhook leaves such Pods alone as well.
"""

_PAGE: Final = 500
_PAGE_BYTES: Final = 8 * 1024 * 1024
"""
What a page should bring; one that brings more makes the next ones smaller.
"""
_MOST_PAGE_BYTES: Final = 4 * _PAGE_BYTES
"""
A page that brings more than this is broken off, and asked for again as a smaller one.
"""
_HEAD: Final = 4096
_PIECE: Final = 256 * 1024
_MOST_BEFORE: Final = 1024 * 1024
_EMPTY: Final = '"items":null}'

_WATCH_SECONDS: Final = 240.0
_SILENT_SECONDS: Final = 90.0
"""
A watch that brings nothing for so long is opened again; bookmarks come about every minute.
"""

_ITEMS: Final = re.compile(r'"items"\s*:\s*(\[|null)')
_MEMBERS: Final = ("namespace", "name", "uid", "resourceVersion")
_NAMES: Final = re.compile(r'"(name|namespace|uid|resourceVersion)":"([^"\\]*)"')
_TYPE: Final = re.compile(r'"type":"([A-Z]+)"')
_PLAIN: Final = re.compile(
    r'[^"{}]*+'
)  # Outside of strings, up to what opens or closes something.
_BETWEEN: Final = re.compile(r"[\s,]*+")
_scan: Final = json.JSONDecoder().raw_decode


class Head(NamedTuple):
    """
    What the beginning of an object says: all that is known of one that is too large.
    """

    namespace: str
    name: str
    uid: str
    version: str


class Change(NamedTuple):
    """
    What a watch reports.

    Attributes:
        kind: ``ADDED``, ``MODIFIED``, ``DELETED`` or ``BOOKMARK``.
        head: which object it is, and the version to go on from.
        item: the object; None where it is too large.
    """

    kind: str
    head: Head
    item: dict[str, Any] | None


class Listing:
    """
    One pass over a list, object by object; iterate it once.

    Attributes:
        version: that of the whole list, for a watch to go on from; known at the end.
    """

    def __init__(
        self,
        kube: Kube,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        too_large: Callable[[Head], None] = lambda _: None,
    ) -> None:
        """
        Prepare a pass; nothing is asked yet.

        Args:
            kube: where.
            path: the collection.
            query: selectors.
            too_large: is told of every object that is passed over for its size.
        """
        self.version = ""
        self._kube = kube
        self._path = path
        self._query = query or {}
        self._too_large = too_large
        self._limit = _PAGE

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """
        Yield the objects.

        Raises:
            ClusterError: with the status, if the API server refuses or goes away.
        """
        token = ""
        again: set[str] = set()  # What a page brought that was broken off: it comes once more.
        while True:
            query = {**self._query, "limit": str(self._limit)}
            if token:
                query["continue"] = token
            items = _Items(may_break_off=self._limit > 1)
            async with self._kube.stream(self._path, query) as response:
                if response.status == HTTPStatus.GONE and token:
                    # The snapshot was compacted meanwhile; a new token goes on with a newer one.
                    token = await _token_after_gone(response)
                    continue
                await _expect_ok(response)
                async for item in items.of(response.content.iter_any()):
                    uid = item.uid if isinstance(item, Head) else item["metadata"].get("uid", "")
                    if uid in again:
                        again.discard(uid)
                    elif isinstance(item, Head):
                        self._too_large(item)
                    else:
                        yield item
            self._limit = items.limit_after(self._limit)
            if items.broken_off:
                again |= items.uids
                continue
            self.version = str(items.metadata.get("resourceVersion", ""))
            token = items.metadata.get("continue") or ""
            if not token:
                return


async def watch(
    kube: Kube, path: str, version: str, query: Mapping[str, str] | None = None
) -> AsyncIterator[Change]:
    """
    Yield what changes in the collection at *path* after *version*; ends after some minutes.

    Go on with the version of the last object seen, bookmarks included.

    Raises:
        ClusterError: with 410 if that version is gone, so that a new list is needed.
    """
    wanted = {
        **(query or {}),
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(int(_WATCH_SECONDS * random.uniform(1, 1.5))),  # noqa: S311
    }
    async with kube.stream(path, wanted, silence=_SILENT_SECONDS) as response:
        await _expect_ok(response)
        try:
            async for line in _lines(response.content.iter_any()):
                yield _change(line)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ClusterError(f"{kube.url}: the watch on {path} brings no events") from error


class _Items:
    """
    The items of one page, out of its bytes.
    """

    def __init__(self, *, may_break_off: bool) -> None:
        self.metadata: dict[str, Any] = {}
        self.broken_off = False
        self.uids: set[str] = set()
        self._may_break_off = may_break_off
        self._bytes = 0
        self._count = 0

    def limit_after(self, limit: int) -> int:
        """
        Return how many objects the next page should have, after this one with *limit*.
        """
        if self._bytes > _PAGE_BYTES:
            return max(1, min(limit // 2, self._count * _PAGE_BYTES // self._bytes))
        return min(_PAGE, limit * 2) if self._bytes < _PAGE_BYTES // 4 else limit

    async def of(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any] | Head]:
        texts = self._texts(chunks)
        rest = await self._begin(texts)
        skipping: _Skip | None = None
        async for text in _first("", texts):  # What was read behind the beginning comes first.
            rest, position = rest + text, 0
            while True:
                if skipping is not None:
                    position = skipping.feed(rest, position)
                    if not skipping.done:
                        break
                    self._note(skipping.head.uid)
                    yield skipping.head
                    skipping = None
                position = _end(_BETWEEN, rest, position)
                if rest.startswith("]", position):
                    async for _ in texts:
                        pass  # So that the connection can be used again.
                    return
                start = position
                try:
                    item, position = _scan(rest, start)
                except ValueError:
                    if len(rest) - start <= MAX_OBJECT_BYTES:
                        break  # It is not whole yet.
                    skipping = _Skip(_head(rest[start : start + _HEAD]))
                    continue
                self._note(item["metadata"].get("uid", ""))
                small = position - start <= MAX_OBJECT_BYTES
                yield item if small else _head(rest[start : start + _HEAD])
            rest = rest[position:]
            if self._bytes > _MOST_PAGE_BYTES and self._may_break_off and self._count:
                self.broken_off = True
                return
        raise ClusterError("the list breaks off")

    def _note(self, uid: str) -> None:
        self._count += 1
        if uid:
            self.uids.add(uid)

    async def _begin(self, texts: AsyncIterator[str]) -> str:
        """
        Read what stands before the first item; return what was read behind that.
        """
        read = ""
        async for text in texts:
            read += text
            found = _ITEMS.search(read)
            if found is not None:
                # A member that comes first, as Kubernetes writes its lists.
                self.metadata = json.loads(f"{read[: found.start()]}{_EMPTY}").get("metadata", {})
                return "]" if found[1] == "null" else read[found.end() :]
            if len(read) > _MOST_BEFORE:
                break
        raise ClusterError("the answer is no list")

    async def _texts(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
        """
        Yield text in pieces that are large enough to try whether an object is whole.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        piece = bytearray()
        async for chunk in chunks:
            self._bytes += len(chunk)
            piece += chunk
            if len(piece) >= _PIECE:
                yield decoder.decode(piece)
                piece.clear()
                await asyncio.sleep(0)  # Health must be answered while thousands of Pods are read.
        yield decoder.decode(piece)


class _Skip:
    """
    Finds the end of an object without keeping it.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.done = False
        self._depth = 0
        self._in_string = False

    def feed(self, text: str, position: int) -> int:
        """
        Go on from *position* in *text*; return up to where it was looked at.
        """
        while position < len(text):
            if self._in_string:
                quote = text.find('"', position)
                end = len(text) if quote < 0 else quote
                before = text[position:end]
                escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1
                if quote < 0:
                    return end - escaped  # What the last backslash escapes is still to come.
                self._in_string = escaped
                position = quote + 1
                continue
            position = _end(_PLAIN, text, position)
            if position == len(text):
                return position
            sign = text[position]
            position += 1
            if sign == '"':
                self._in_string = True
                continue
            self._depth += 1 if sign == "{" else -1
            if not self._depth:
                self.done = True
                return position
        return position


async def _first(first: str, texts: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for text in texts:
        yield text


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """
    Yield whole lines; of a line that is too long, its head.
    """
    rest = bytearray()
    too_long = False
    async for chunk in chunks:
        *ends, last = chunk.split(b"\n")
        for end in ends:
            if not too_long:
                rest += end
            if rest:
                yield bytes(rest)
            rest, too_long = bytearray(), False
        if not too_long:
            rest += last
        if len(rest) > MAX_OBJECT_BYTES:
            del rest[_HEAD:]
            too_long = True


def _change(line: bytes) -> Change:
    try:
        event = json.loads(line)
    except ValueError:
        text = line.decode(errors="replace")
        kind = _TYPE.search(text)
        if len(line) != _HEAD or kind is None:
            raise
        return Change(kind[1], _head(text), None)
    item = event["object"]
    if event["type"] == "ERROR":
        raise ClusterError(str(item.get("message")), int(item.get("code") or 0))
    metadata = item["metadata"]
    return Change(event["type"], Head(*(metadata.get(name, "") for name in _MEMBERS)), item)


def _head(text: str) -> Head:
    """
    Return what the beginning of an object says; Kubernetes writes these members first.
    """
    _, _, metadata = text.partition('"metadata":{')
    found: dict[str, str] = {}
    for name, value in _NAMES.findall(metadata):
        found.setdefault(name, value)
    return Head(*(found.get(name, "") for name in _MEMBERS))


async def _expect_ok(response: aiohttp.ClientResponse) -> None:
    if response.status != HTTPStatus.OK:
        answer = await read_answer(response)
        raise answer.error()


async def _token_after_gone(response: aiohttp.ClientResponse) -> str:
    answer = await read_answer(response)
    token = (answer.body.get("metadata") or {}).get("continue") or ""
    if not token:
        raise answer.error()
    return str(token)


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position
