"""
Image references for tests: those of the Go module's own tests, and made-up ones.
"""

import ast
import json
import re

from collections.abc import Iterator
from random import Random
from typing import Final

from tests.support.golang import module_directory
from tests.support.oracles import SOURCE


__all__ = ["generate", "published"]

_MODULE: Final = "github.com/distribution/reference"

# What a Go file is made of, as far as finding its string literals goes.
_GO_TOKEN: Final = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | '(?:\\.|[^'\\])+' | `(?P<raw>[^`]*)` | (?P<quoted>"(?:\\.|[^"\\\n])*")""",
    re.VERBOSE | re.DOTALL,
)

_SHA256: Final = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"

# Good and bad parts, from which references are put together.
_DOMAINS: Final = (
    *("", "", "", "docker.io", "index.docker.io", "registry-1.docker.io", "quay.io", "Docker.IO"),
    *(
        "docker.io:443",
        "docker.io.evil.example",
        "localhost",
        "localhost:5000",
        "host:5000",
        "Foo",
    ),
    *("LOCALDOMAIN", "a-b.c", "xn--n3h.com", "10.0.0.1", "10.0.0.1:5000", "[::1]", "[::1]:5000"),
    *("[fc00::1]:80", "my_host.x", "a.b:99999999", f"{'d' * 300}.io"),
)
_BAD_DOMAINS: Final = (
    *("docker.io.", ".docker.io", "host:", "host:http", "a-.b", "-a.b", "[fe80::1%eth0]:5000"),
    *("[2001:db8::192.0.2.33]:5000", "fc00::1:5000", "[]", "[::1", "http:/", "https://quay.io"),
    *("user@quay.io", "тест.рф", "\uff11.io", "\u212a.io", "docker.io\0", " docker.io"),
)
_COMPONENTS: Final = (
    *("nginx", "library", "a", "0", "a-b", "a--b", "a---b", "a_b", "a__b", "a.b", "sha256"),
    *("x" * 63, "x" * 119, "x" * 127, "x" * 247, "x" * 254, "x" * 255),
    *(_SHA256, _SHA256[1:], _SHA256 + "0"),
)
_BAD_COMPONENTS: Final = (
    *("a___b", "a..b", "a._b", "a-.b", "-a", "a-", "_", "____", ".", "Upper", "", "$(IMG)", "a b"),
    *(
        "тест",
        "é",
        "\uff11\uff12",
        "\u212a",
        "İ",
        "\u017f",
        "x" * 256,
        _SHA256.upper(),
        "a\0",
        "a\n",
    ),
)
_TAGS: Final = (
    "",
    "",
    ":1",
    ":latest",
    ":5000",
    ":_",
    ":A.b-c_d",
    f":{'t' * 127}",
    f":{'t' * 128}",
)
_BAD_TAGS: Final = (
    *(
        ":",
        ":-a",
        ":.a",
        ":v1.2.3+build",
        "::",
        f":{'t' * 129}",
        ":тест",
        ":\uff11",
        ":1\n",
        ":1 ",
    ),
)
_DIGESTS: Final = (
    *(
        "",
        "",
        "",
        f"@sha256:{_SHA256}",
        f"@sha384:{_SHA256}{_SHA256[:32]}",
        f"@sha512:{_SHA256 * 2}",
    ),
)
_BAD_DIGESTS: Final = (
    *("@", "@sha256:", "@:", f"@sha256:{_SHA256.upper()}", f"@sha256:{_SHA256[:32]}"),
    *(
        f"@sha256:{_SHA256[1:]}",
        f"@sha256:{_SHA256}0",
        f"@sha512:{_SHA256}",
        f"@md5:{_SHA256[:32]}",
    ),
    *(f"@SHA256:{_SHA256}", f"@sha256+b64u:{_SHA256}", f"@a.b_c-d:{_SHA256}", f"@1a:{_SHA256}"),
    *(f"@sha256:{'g' * 64}", f"@sha256:{_SHA256}@sha256:{_SHA256}", f"@sha256:{_SHA256}:1"),
)
_CHARACTERS: Final = "abz09AZ.-_/:@[]+%$ \t\n\r\0\x1b\x7f~\u0085\u2028é\u212aİ\uff11\U0001f433"


def published() -> list[str]:
    """
    Return every string literal in the tests of `distribution/reference`.
    """
    directory = module_directory(_MODULE, within=SOURCE)
    files = ("reference_test.go", "normalize_test.go", "regexp_test.go")
    texts = ((directory / name).read_text(encoding="utf-8") for name in files)
    return sorted({literal for text in texts for literal in _literals(text)})


def generate(random: Random) -> str:
    """
    Return a reference that is well-formed, or nearly so.

    It is put together from good and bad parts, mostly good ones, and then damaged in up to three
    places, mostly in none.
    """

    def part(good: tuple[str, ...], bad: tuple[str, ...]) -> str:
        return random.choice(bad if random.random() < 0.04 else good)

    domain = part(_DOMAINS, _BAD_DOMAINS)
    depth = random.choice((1, 1, 1, 2, 2, 3, 9))
    path = [part(_COMPONENTS, _BAD_COMPONENTS) for _ in range(depth)]
    name = "/".join([domain, *path] if domain else path)
    text = name + part(_TAGS, _BAD_TAGS) + part(_DIGESTS, _BAD_DIGESTS)
    for _ in range(random.choice((0, 0, 0, 0, 1, 1, 2, 3))):
        text = _damage(text, random)
    return text


def _damage(text: str, random: Random) -> str:
    start = random.randrange(len(text) + 1)
    end = min(len(text), start + random.choice((0, 0, 1, 1, 8)))
    middle = text[start:end]
    replacement = random.choice(
        ("", random.choice(_CHARACTERS), middle * 2, middle.swapcase(), middle[::-1])
    )
    return text[:start] + replacement + text[end:]


def _literals(source: str) -> Iterator[str]:
    for token in _GO_TOKEN.finditer(source):
        if token["raw"] is not None:
            yield token["raw"]
        elif token["quoted"] is not None:
            try:
                yield json.loads(token["quoted"])
            except json.JSONDecodeError:  # \x and octal escapes, which Python's literals share.
                yield ast.literal_eval(token["quoted"])
