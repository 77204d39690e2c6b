"""
The Go programs under `tests/support/oracle`, as Python objects.

They say what the kubelet makes of an image reference and what the API server makes of a patch,
since they are built from the very libraries that those use.
"""

import base64
import contextlib
import json
import subprocess

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from tests.support.golang import built


__all__ = ["SOURCE", "PatchOracle", "PatchRefusedError", "ReferenceOracle"]

SOURCE: Final = Path(__file__).parent / "oracle"

# So many questions are sent ahead of their answers: few enough for the pipes to hold them all.
_AHEAD: Final = 64


class PatchRefusedError(Exception):
    """
    The API server would refuse the object, because the patch does not apply to it.
    """


class _Oracle:
    """
    A running Go program that answers each line of JSON with another.
    """

    _name: str

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [_built() / self._name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def _ask(self, question: Any) -> Any:
        [answer] = self._ask_all([question])
        return answer

    def _ask_all(self, questions: list[Any]) -> list[Any]:
        self._process.stdin.write(b"".join(json.dumps(q).encode() + b"\n" for q in questions))
        self._process.stdin.flush()
        return [json.loads(self._process.stdout.readline()) for _ in questions]


class ReferenceOracle(_Oracle):
    """
    What `ParseNormalizedNamed` of `distribution/reference` says.
    """

    _name = "reference"

    def parse(self, text: str) -> tuple[str, str, str, str] | None:
        """
        Return domain, path, tag and digest, or None where *text* is no reference.
        """
        return _parts(self._ask(text))

    def parse_all(
        self, texts: Iterable[str]
    ) -> Iterator[tuple[str, tuple[str, str, str, str] | None]]:
        """
        Yield each text with what `parse` returns for it.
        """
        waiting: list[str] = []
        for text in texts:
            waiting.append(text)
            if len(waiting) == _AHEAD:
                yield from zip(waiting, map(_parts, self._ask_all(waiting)), strict=True)
                waiting = []
        yield from zip(waiting, map(_parts, self._ask_all(waiting)), strict=True)


class PatchOracle(_Oracle):
    """
    What the API server's JSON Patch library says.
    """

    _name = "patch"

    def apply(self, document: Any, patch: bytes) -> Any:
        """
        Return *document* with *patch*, the bytes of a JSON Patch, applied.

        Raises:
            PatchRefusedError: where the API server would refuse the object.
        """
        answer = self._ask({"object": document, "patch": base64.b64encode(patch).decode()})
        if "error" in answer:
            raise PatchRefusedError(answer["error"])
        return answer["object"]


def _parts(answer: list[str]) -> tuple[str, str, str, str] | None:
    return tuple(answer) if len(answer) == 4 else None


@cache
def _built() -> Path:
    return built(SOURCE, "./reference", "./patch")
