r"""
Image references, exactly as the kubelet reads them.

The grammar and the normalisation are those of ``github.com/distribution/reference`` v0.6.0
(``regexp.go``, ``normalize.go``), which Kubernetes 1.37 uses.  In its words::

    reference        := name [ ":" tag ] [ "@" digest ]
    name             := [ domain "/" ] path
    domain           := host [ ":" port ]
    host             := domain-name | "[" IPv6 address "]"
    domain-name      := domain-component ( "." domain-component )*
    path             := path-component ( "/" path-component )*
    path-component   := alphanumeric ( separator alphanumeric )*
    separator        := "." | "_" | "__" | "-"+
    tag              := word character, then up to 127 of [A-Za-z0-9_.-]
    digest           := algorithm ":" 32 or more hexadecimal digits

Every pattern is ASCII-only and matched against the whole string: Python's ``\w``, ``\d`` and
``$`` are more generous than Go's, and would accept ``nginx:1\n`` and ``nginx:тест``.
"""

import re

from typing import Final, Self

from msgspec import Struct

from webhook.errors import InvalidReferenceError


__all__ = ["DOCKER_HUB", "LEGACY_DOCKER_HUB", "MAX_PATH_LENGTH", "Reference", "is_domain"]

DOCKER_HUB: Final = "docker.io"
"""
The domain that a reference without one belongs to.
"""

MAX_PATH_LENGTH: Final = 255
"""
The longest path, in characters, that the grammar's implementation accepts.
"""

LEGACY_DOCKER_HUB: Final = "index.docker.io"
"""
A domain that the grammar reads as Docker Hub's.
"""

_OFFICIAL: Final = "library/"

_ALPHANUMERIC = r"[a-z0-9]+"
_SEPARATOR = r"(?:[._]|__|-+)"
_PATH_COMPONENT = rf"{_ALPHANUMERIC}(?:{_SEPARATOR}{_ALPHANUMERIC})*"
_PATH = rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
_DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN_NAME = rf"{_DOMAIN_COMPONENT}(?:\.{_DOMAIN_COMPONENT})*"
_IPV6_ADDRESS = r"\[[a-fA-F0-9:]+\]"
_DOMAIN = rf"(?:{_DOMAIN_NAME}|{_IPV6_ADDRESS})(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_ALGORITHM = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*"
_DIGEST = rf"{_ALGORITHM}:[0-9a-fA-F]{{32,}}"

_REFERENCE: Final = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?",
    re.ASCII,
)
_WHOLE_DOMAIN: Final = re.compile(_DOMAIN, re.ASCII)
_IDENTIFIER: Final = re.compile(r"[a-f0-9]{64}", re.ASCII)
_IDENTIFIER_LENGTH: Final = 64

# The algorithms that go-digest v1.0.0 knows, and how many (lower-case) digits each has.
_DIGEST_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_LOWER_HEX: Final = re.compile(r"[a-f0-9]+", re.ASCII)


class Reference(Struct, frozen=True, gc=False):
    """
    A normalised reference: which registry, which repository there, and which image in it.

    Attributes:
        domain: the registry's host, with its port where one was given; empty only for the few
            names with a dot in front that are no host (``my_host.example/x``).
        path: the repository, never empty; with ``library/`` where Docker Hub leaves it out.
        tag: the tag, or an empty string; never invented.
        digest: the digest with its algorithm, or an empty string.
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read *text* as ``ParseNormalizedNamed`` does.

        Raises:
            InvalidReferenceError: where that function returns an error.
        """
        if len(text) == _IDENTIFIER_LENGTH and _IDENTIFIER.fullmatch(text):
            raise InvalidReferenceError("64 hexadecimal digits are an image ID, not a reference")
        domain, remainder = _split_domain(text)
        match = _REFERENCE.fullmatch(f"{domain}/{remainder}")
        if match is None:
            raise InvalidReferenceError("does not follow the grammar of image references")
        path, digest = match["path"], match["digest"] or ""
        if len(path) > MAX_PATH_LENGTH:
            raise InvalidReferenceError(
                f"the repository has more than {MAX_PATH_LENGTH} characters"
            )
        if digest:
            _check_digest(digest)
        return cls(match["domain"] or "", path, match["tag"] or "", digest)

    @property
    def repository(self) -> str:
        """
        Return the domain and the path, without tag and digest.
        """
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def suffix(self) -> str:
        """
        Return the tag and the digest as they stand behind a repository.
        """
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    def __str__(self) -> str:
        return self.repository + self.suffix


def is_domain(text: str) -> bool:
    """
    Tell whether *text* can stand as the domain (host, optional port) of a reference.
    """
    return _WHOLE_DOMAIN.fullmatch(text) is not None


def _split_domain(name: str) -> tuple[str, str]:
    """
    Cut *name* into domain and remainder, filling in what Docker Hub lets people leave out.

    As ``splitDockerDomain``: the first component is a host only if it is ``localhost``, has a dot
    or a colon in it, or an upper-case letter (which no path may have).
    """
    first, slash, rest = name.partition("/")
    if not slash:
        return DOCKER_HUB, _OFFICIAL + name
    if first == LEGACY_DOCKER_HUB:
        domain, remainder = DOCKER_HUB, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain, remainder = first, rest
    else:
        domain, remainder = DOCKER_HUB, name
    if domain == DOCKER_HUB and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder


def _check_digest(digest: str) -> None:
    algorithm, _, encoded = digest.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None:
        raise InvalidReferenceError("the digest's algorithm is not sha256, sha384 or sha512")
    if len(encoded) != length or not _LOWER_HEX.fullmatch(encoded):
        raise InvalidReferenceError(f"a {algorithm} digest has {length} lower-case digits")
