"""
Write the answer to a review: the only place where one becomes bytes.

Every answer allows the Pod, and none is lost: where an admission can't be written, the Pod is
allowed as it is.
"""

import json

from base64 import b64encode
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final

from msgspec import Struct
from msgspec.json import Encoder

from webhook.admission.admit import Admission
from webhook.admission.review import Review


__all__ = ["Answer", "Written", "answer", "write", "write_plainly"]

_encode: Final = Encoder().encode


class Written(Struct, frozen=True, gc=False):
    """
    An admission, and all of its answer but what names the review.

    Attributes:
        admission: what the answer says.
        rest: the members of the response behind ``uid``, as JSON.
    """

    admission: Admission
    rest: bytes


class Answer(Struct, frozen=True, gc=False):
    """
    What is sent.

    Attributes:
        body: the AdmissionReview, as JSON.
        admission: what it says.
    """

    body: bytes
    admission: Admission


def answer(review: Review, written: Written) -> Answer:
    """
    Return the answer to *review*: what was *written*, with the uid of the review in front.
    """
    head = (
        f'{{"apiVersion":{quote(review.api_version)},"kind":"AdmissionReview",'
        f'"response":{{"uid":{quote(review.request.uid)},'
    )
    return Answer(b"%b%b}" % (head.encode(), written.rest), written.admission)


def write(admission: Admission) -> Written:
    """
    Write what answers with *admission* have in common.
    """
    return Written(admission, _response(admission, _encode))


def write_plainly(admission: Admission) -> Written:
    """
    Write an *admission* without a patch by another encoder, where ours has failed.
    """
    return Written(admission, _response(admission, lambda value: json.dumps(value).encode()))


def _response(admission: Admission, encode: Callable[[Any], bytes]) -> bytes:
    response: dict[str, Any] = {"allowed": True}
    if admission.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = b64encode(encode(admission.patch)).decode("ascii")
    if admission.message:
        response["status"] = {"message": admission.message}
    if admission.warnings:
        response["warnings"] = admission.warnings
    if admission.audit_annotations:
        response["auditAnnotations"] = admission.audit_annotations
    # Behind the uid, which stands first: without the brace that opens the object.
    return encode(response)[1:]
