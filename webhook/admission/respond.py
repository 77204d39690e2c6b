"""
Write the answer to a review: the only place where one becomes bytes.

Every answer allows the Pod, and none is lost: where an admission can't be written, the Pod is
allowed as it is.
"""

import json

from base64 import b64encode
from typing import Any, Final

from msgspec import Struct
from msgspec.json import Encoder

from webhook.admission.admit import Admission, left_alone
from webhook.admission.review import Review


__all__ = ["Answer", "respond"]

_encode: Final = Encoder().encode


class Answer(Struct, frozen=True, gc=False):
    """
    What is sent.

    Attributes:
        body: the AdmissionReview, as JSON.
        admission: what it says.
    """

    body: bytes
    admission: Admission


def respond(review: Review, admission: Admission) -> Answer:
    """
    Answer *review* with *admission*; if that can't be written, with the Pod as it is.
    """
    try:
        return Answer(_encode(_document(review, admission)), admission)
    except Exception as error:  # noqa: BLE001 - a Pod is never refused because of us.
        admission = left_alone(review, admission.mode, error)
        # By another encoder: it may be ours that fails.
        return Answer(json.dumps(_document(review, admission)).encode(), admission)


def _document(review: Review, admission: Admission) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": review.request.uid, "allowed": True}
    if admission.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = b64encode(_encode(admission.patch)).decode("ascii")
    if admission.message:
        response["status"] = {"message": admission.message}
    if admission.warnings:
        response["warnings"] = admission.warnings
    if admission.audit_annotations:
        response["auditAnnotations"] = admission.audit_annotations
    return {"apiVersion": review.api_version, "kind": "AdmissionReview", "response": response}
