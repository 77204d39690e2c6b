"""
What is counted and logged of a review, after it has been decided.
"""

from typing import Any

import structlog

from webhook.admission.admit import MAX_DESCRIBED, Admission
from webhook.admission.review import Request
from webhook.process.metrics import WebhookMetrics
from webhook.text import clean


__all__ = ["record", "record_invalid"]

_log = structlog.get_logger()


def record(
    metrics: WebhookMetrics, request: Request, admission: Admission, seconds: float
) -> None:
    """
    Count and log a review that took *seconds* to answer; an answer is not lost because of this.
    """
    try:
        _count(metrics, request, admission, seconds)
        _log.info("review", **_describe(request, admission))
    except Exception as error:  # noqa: BLE001 - whatever it is, the Pod does not wait for it.
        _log.error("review not counted", error=type(error).__name__)


def record_invalid(metrics: WebhookMetrics, mode: str, problem: str, size: int) -> None:
    """
    Count and log a body of *size* bytes that is no review.
    """
    metrics.reviews_of(mode, "unknown", "invalid").inc()
    _log.warning("not a review", mode=mode, problem=clean(problem), bytes=size)


def _count(
    metrics: WebhookMetrics, request: Request, admission: Admission, seconds: float
) -> None:
    operation = request.operation if request.operation in ("CREATE", "UPDATE") else "other"
    metrics.reviews_of(admission.mode, operation, admission.outcome).inc()
    metrics.review_duration_of(admission.mode).observe(seconds)
    for (registry, outcome, reason), number in admission.counts:
        metrics.images_of(registry, outcome, reason).inc(number)


def _describe(request: Request, admission: Admission) -> dict[str, Any]:
    """
    Return what a log line says of a review; strings from the Pod are cut.
    """
    metadata = request.object.metadata if request.object else None
    name = request.name or (metadata and (metadata.name or metadata.generate_name)) or ""
    line: dict[str, Any] = {
        "mode": admission.mode,
        "operation": clean(request.operation),
        "namespace": clean(request.namespace or ""),
        "pod": clean(name),
        "uid": request.uid,
        "outcome": admission.outcome,
        "images": admission.described,
    }
    if len(admission.images) > MAX_DESCRIBED:
        line["more_images"] = len(admission.images) - MAX_DESCRIBED
    if request.dry_run:
        line["dry_run"] = True
    if admission.message:
        line["message"] = clean(admission.message)
    return line
