r"""
Whose fault a failed pull is, judged by what the kubelet says about it.

What the programs say is free text that changes from version to version, so the order in which the
classes are tried is part of the rule:

1. ``node``: whatever went wrong after the bytes had arrived, or could not fit this machine.  It goes
   first since a full disk also ends in deadlines and cancelled contexts.
2. ``kubelet``: the kubelet or the runtime gave up by itself.
3. ``limited``: a rate limit; some registries wrap it into a 403 or a 401.
4. ``denied``: before ``absent``, for Docker Hub says "repository does not exist or may require
   authorization" to whoever may not know.
5. ``absent``.
6. ``unreachable``: the last, for a resolver's "no such host" is no "not found" of a registry.

Whatever else is said is ``unknown``.  References, URLs, host names and whatever stands in quotes are
cut out first, and status codes count only where a program prints one: an image called ``ratelimit``,
a host called ``404`` and a tag ``429`` change nothing.
"""

import re

from enum import StrEnum
from typing import Final


__all__ = ["PullFailure", "classify", "tells_the_cause"]

_MOST: Final = 4096
"""
So much of a message is looked at, in characters: those that were seen have a few hundred.
"""


class PullFailure(StrEnum):
    """
    Whose fault a failed pull is.
    """

    KUBELET = "kubelet"
    """The kubelet's own brake, or a pull that it or the runtime gave up: nobody's fault."""
    NODE = "node"
    """The machine's disk, platform or runtime: no other source would help."""
    ABSENT = "absent"
    """The source says that it has no such image."""
    DENIED = "denied"
    """The source wants other credentials, or none would do."""
    LIMITED = "limited"
    """The source has a rate limit, and it is reached."""
    UNREACHABLE = "unreachable"
    """The source gave no answer, or none that makes sense."""
    UNKNOWN = "unknown"
    """Nothing is known to say this."""

    @property
    def movable(self) -> bool:
        """
        Tell whether another source may help.
        """
        return self not in (PullFailure.KUBELET, PullFailure.NODE)

    @property
    def final(self) -> bool:
        """
        Tell whether the source has spoken about this image: asking again soon is no use.
        """
        return self in (PullFailure.ABSENT, PullFailure.DENIED)


def tells_the_cause(message: str) -> bool:
    """
    Tell whether *message* says why a pull failed, and not only that the next one is waited for.

    A kubelet before 1.31 says no more than that while it backs off.
    """
    return _BACK_OFF_ALONE.fullmatch(message.strip()) is None


def classify(reason: str, message: str) -> PullFailure:
    """
    Return the class of a failed pull.

    Args:
        reason: why the container waits, in the kubelet's word.
        message: what the kubelet says about it, as it stands in the Pod's status.
    """
    text = _cut(message[:_MOST])
    for failure, pattern in _PATTERNS:
        if pattern.search(text):
            return failure
    return PullFailure.UNREACHABLE if reason == "RegistryUnavailable" else PullFailure.UNKNOWN


_BACK_OFF_ALONE: Final = re.compile(r'Back-off pulling image "[^"]*"', re.ASCII)

_GAP: Final = "_"
"""
What stands where something was cut out.
"""

# Names that stand bare, told by the words around them.  CRI-O and Docker quote nothing.
_BARE: Final = (
    r"(?<=\breading manifest )\S+ in \S+?(?=:?\s|$)",
    r"(?<=\breading signatures: )\S+?(?=:?\s|$)",
    r"(?<=\bmanifest for )\S+",
    r"(?<=\baccess denied for )\S+?(?=,|\s|$)",
    r"(?<=\blookup )\S+?(?=:?\s|$)",
    r"(?<=\bregistry )[^\s:]+(?::\d+)?(?=:)",
    r"(?<=[\s,]tag )\S+",
    r"(?<=\brepository )\S+(?= not found)",
    r"(?<=\brepo )[^\s,]+",
    r"(?<=\bproject )\S+(?= not found)",
    r"(?<=\b[Ii]mage )\S+(?= not found)",
    r"(?<=\bpulling from host )\S+",
)
# Words of a path or a URL, of host:port, repository:tag, algorithm:digits, or with a dot inside.
_NAMES: Final = (
    r"\b[a-z][a-z+.-]*://\S+?(?=:?[\s,)\]]|:?$)",
    r"\[(?:manifests|blobs) [^\]]*\]",
    r"(?<![\w.-])(?!(?:i/o|input/output|net/http|text/html)\b)[\w.-]+(?:[/@]|:(?=\w))[\w./@:+=%~?&-]*[\w=]",
    r"(?<!\w)/[\w./@:+=%~?&-]*[\w=]",
    r"\b[\w-]+(?:\.[\w-]+)+",
)
_CUTS: Final = (
    # CRI-O: what the mirrors said stands before what the registry itself said.
    (re.compile(r"\(Mirrors also failed: \[.*\]\):", re.ASCII | re.DOTALL), ""),
    (re.compile(r'\\?"[^"]*"', re.ASCII), _GAP),
    (re.compile("|".join(_BARE), re.ASCII), _GAP),
    (re.compile("|".join(_NAMES), re.ASCII | re.IGNORECASE), _GAP),
)


def _cut(message: str) -> str:
    """
    Return *message* without names, on one line, with single spaces.
    """
    for pattern, gap in _CUTS:
        message = pattern.sub(gap, message)
    return " ".join(message.split())


_STATUS: Final = (
    r"(?:status(?: code)?(?: from (?:registry|\w+ request to _))?(?: returned when fetching blob)?"
    r"|StatusCode|\bHTTP status|parsing HTTP)(?: _)?:? "
)
"""
The words behind which containerd, CRI-O and Docker print a status code.
"""

_FILE_CALLS: Final = r"(?:open|mkdir|mount|chmod|lchown|lstat|stat|rename|unlink|remove|connect:?)"
_FILE_ERRORS: Final = (
    r"(?:permission denied|operation not permitted|no such file or directory"
    r"|directory not empty|file exists)"
)

_WORDS: Final = {
    PullFailure.NODE: (
        r"no space left on device",
        r"not enough (?:disk )?space",
        r"disk quota exceeded",
        r"read-only file system",
        r"input/output error",
        r"too many open files",
        r"cannot allocate memory",
        r"exec format error",
        r"no match for platform",
        r"no matching manifest for",
        r"no image found in (?:manifest list|image index)",
        r"cannot be used on this platform",
        r"failed to (?:prepare extraction snapshot|commit snapshot|(?:extract|register|apply) layer)",
        r"failed to unpack",
        r"error processing tar",
        r"(?:storing|committing|writing) (?:blob|the finished image|image)\b.*(?:layer|file)\b",
        r"creating (?:read-write )?layer",
        rf"{_FILE_CALLS}\b[^:]*: {_FILE_ERRORS}",
        r"permission denied$",
        r"snapshot .*(?:does not exist|already exists)",
        r"failed to mount",
        r"desc = (?:connection error|error reading from server|transport is closing)",
        r"desc = (?:closing transport|the connection is draining)",
        r"\bdial unix\b",
    ),
    PullFailure.KUBELET: (r"pull QPS exceeded", r"context canceled\b"),
    PullFailure.LIMITED: (
        _STATUS + r"429\b",
        r"too ?many ?requests",
        r"TOO_MANY_REQUEST",
        r"\brate[ -]?limit",
        r"(?:rate|data limit|quota) exceeded",
    ),
    PullFailure.DENIED: (
        _STATUS + r"(?:401|403|407)\b",
        r"(?:^|: )(?:401 Unauthorized|403 Forbidden)\b",
        r"access denied",
        r"no pull access",
        r"is not allowed access",
        r"access to the resource is denied",
        r"access forbidden",
        r"(?:^|[:\[] ?)denied\b",
        r"\bunauthorized(?::|$|[ ,;)\]])",
        r"not authorized to perform",
        r"authentication required",
        r"authorization failed",
        r"insufficient[_ ]scope",
        r"no basic auth credentials",
        r"(?:invalid|incorrect) username[ /]",
        r"\bforbidden$",
    ),
    # A page came in place of an image: a login, or a proxy's own.  Nobody said "not found".
    PullFailure.UNKNOWN: (r"unexpected media type", r"\(text/html\)"),
    PullFailure.ABSENT: (
        _STATUS + r"(?:404|410)\b",
        r"(?:^|: )404 Not Found\b",
        r"(?:manifest|name|repository|blob)[_ ]unknown",
        r"repository name not known",
        r"(?:manifest for|image|tag|artifact|repository|project) _(?:,? \w+ _)? not found",
        r": not found(?:$|[:;,)\]])",
    ),
    PullFailure.UNREACHABLE: (
        _STATUS + r"(?:408|5\d\d)\b",
        r"connection (?:refused|reset|timed out)",
        r"time(?:d )?-?out\b",
        r"deadline exceeded",
        r"awaiting headers",
        r"waiting for connection",
        r"no route to host",
        r"(?:network|host) is (?:unreachable|down)",
        r"no such host",
        r"server misbehaving",
        r"failure in name resolution",
        r"\bproxyconnect\b",
        r"\btls: ",
        r"\bx509: ",
        r"server gave HTTP response to HTTPS client",
        r"\bEOF\b",
        r"broken pipe",
        r"use of closed network connection",
        r"\bstream error\b",
        r"\bGOAWAY\b",
        r"(?:internal server error|bad gateway|service unavailable|gateway timeout)",
    ),
}
_PATTERNS: Final = tuple(
    (failure, re.compile("|".join(words), re.ASCII | re.IGNORECASE))
    for failure, words in _WORDS.items()
)
