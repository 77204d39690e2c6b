"""
Read a review: the AdmissionReview v1 wire format, only the fields that concern us.

See ``k8s.io/api/admission/v1``.  Reading is strict about who asks (the ``uid``), since an answer
without it is no answer, and lenient about what is asked: a review whose object makes no sense is
still answered, without a patch.
"""

from typing import Annotated, Final, TypeAlias

from msgspec import DecodeError, Meta, Struct, ValidationError, field
from msgspec.json import Decoder

from webhook.errors import InvalidReviewError
from webhook.pod.model import MAX_POD_BYTES, Pod


__all__ = ["Body", "Request", "Review", "read_review"]

Body: TypeAlias = bytes | bytearray
"""
The bytes of a review.  A large one is read from where it was gathered: a copy takes a tenth more time.
"""

_GROUP: Final = "admission.k8s.io/"
_V1: Final = "admission.k8s.io/v1"


_Uid = Annotated[str, Meta(min_length=1, max_length=256)]


class _Model(Struct, rename="camel", gc=False):
    """
    A part of a review.
    """


class _Kind(_Model):
    group: str = ""
    version: str = ""
    kind: str = ""


class _Resource(_Model):
    group: str = ""
    version: str = ""
    resource: str = ""


class _Identity(_Model):
    uid: _Uid


class _IdentifiedReview(_Model):
    """
    The least that can be answered.
    """

    api_version: str
    kind: str
    request: _Identity


class Request(_Model):
    """
    What the API server asks about: an operation on a Pod.
    """

    uid: _Uid
    kind: _Kind = field(default_factory=_Kind)
    resource: _Resource = field(default_factory=_Resource)
    sub_resource: str | None = ""
    name: str | None = ""
    namespace: str | None = ""
    operation: str = ""
    dry_run: bool | None = False
    object: Pod | None = None
    old_object: Pod | None = None


class _AdmissionReview(_Model):
    api_version: str
    kind: str
    request: Request


# Of objects and members; a Pod that etcd takes has fewer, and as many take some 30 MB in memory.
_MAX_PARTS: Final = 200_000

_decode_review = Decoder(_AdmissionReview).decode
_decode_identity = Decoder(_IdentifiedReview).decode

# A string that is no UTF-8, and more nesting than the interpreter's stack, have errors of Python's.
_UNREADABLE: Final = (DecodeError, UnicodeDecodeError, RecursionError)


class Review(Struct, frozen=True, gc=False):
    """
    A review that can be answered.

    Attributes:
        api_version: the version that it came in, and is answered in.
        request: what is asked; bare but for its uid if it could not be read.
        problem: why the request could not be read, or an empty string.
        object_bytes: an upper bound of what the object takes as JSON, in bytes.
    """

    api_version: str
    request: Request
    problem: str = ""
    object_bytes: int = 0


def read_review(body: Body) -> Review:
    """
    Read the body of a request.

    Raises:
        InvalidReviewError: if it is no AdmissionReview with a uid.
    """
    size = _object_bytes(body)
    problem = ""
    if _has_too_many_parts(body, size):
        problem = "it has too many parts"
        review = _read_identity(body, problem)
    else:
        try:
            review = _decode_review(body)
        except _UNREADABLE as error:
            problem = _problem(error)
            review = _read_identity(body, problem)
    if review.kind != "AdmissionReview" or not review.api_version.startswith(_GROUP):
        raise InvalidReviewError("this is no AdmissionReview of admission.k8s.io")
    if review.api_version != _V1 and not problem:
        problem = f"only {_V1} is understood"
    return Review(review.api_version, review.request, problem, size)


def _has_too_many_parts(body: Body, size: int) -> bool:
    """
    Tell whether *body* would take many times its size in memory: a list's length is checked late.

    Smaller ones are bounded by their size, and larger ones are left alone in any case.
    """
    return size > MAX_POD_BYTES and body.count(b"{") + body.count(b":") > _MAX_PARTS


def _read_identity(body: Body, problem: str) -> _AdmissionReview:
    try:
        known = _decode_identity(body)
    except _UNREADABLE as error:
        raise InvalidReviewError(f"this is no AdmissionReview: {problem}") from error
    return _AdmissionReview(known.api_version, known.kind, Request(known.request.uid))


def _problem(error: Exception) -> str:
    """
    Name the first thing that is wrong, without repeating anything that the body holds.
    """
    return str(error) if isinstance(error, ValidationError) else "not valid JSON"


def _object_bytes(body: Body) -> int:
    r"""
    Return how many bytes *body* takes without the HTML escapes that the API server puts in.

    Go writes ``<``, ``>`` and ``&`` as six bytes each, which can make a review six times as large
    as its Pod.  Escaped backslashes are taken out of the way first, so that a literal ``\u003c``
    in a string does not count as an escape.
    """
    # Small enough however it is counted, or nothing to count.
    if len(body) <= MAX_POD_BYTES or b"\\" not in body:
        return len(body)
    plain = body.replace(rb"\\", b"__") if b"\\\\" in body else body
    escapes = sum(plain.count(escape) for escape in (rb"\u003c", rb"\u003e", rb"\u0026"))
    return len(body) - 5 * escapes
