"""
The metrics of both processes.

Each process makes one `Metrics`, with a registry of its own, so that tests can make many.  Labels
hold configured names and fixed words only, never anything that comes from a Pod.
"""

from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from webhook import __version__


__all__ = ["ControllerMetrics", "FileMetrics", "HarborMetrics", "WebhookMetrics"]

_PREFIX: Final = "harbor_cache"

# A review takes well under a millisecond; the API server gives up after two seconds.
_REVIEW_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
_PROBE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

_RELOADS: Final = ("loaded", "refused")
_RECOVERIES: Final = (
    "project-unavailable",
    "pull-hangs",
    "pull-fails",
    "former-rule",
    "upstream-limited",
    "upstream-unreachable",
    "upstream-denied",
    "upstream-absent",
    "upstream-fails",
)
_RECOVERY_FAILURES: Final = (
    "record-mismatch",
    "taken-back",
    "image-volume",
    "ephemeral-container",
    "conflict",
    "refused",
    "forbidden",
    "api-error",
    "quarantine",
    "quarantine-full",
    "too-large",
    "internal-error",
)


def _begin_at_zero(counter: Counter, values: tuple[str, ...]) -> None:
    """
    Show a counter for each of its label's *values* from the start.

    Prometheus sees no increase in a series that begins at 1, so an alert would miss the first time.
    """
    for value in values:
        counter.labels(value)


class HarborMetrics:
    """
    What is known of Harbor; both processes probe it by themselves.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.harbor_available = Gauge(
            f"{_PREFIX}_harbor_available",
            "Whether Harbor as a whole is available (1) or not (0).",
            registry=registry,
        )
        self.project_available = Gauge(
            f"{_PREFIX}_project_available",
            "Whether a proxy project can serve pulls (1) or not (0).",
            ["project"],
            registry=registry,
        )
        self.probe_duration = Histogram(
            f"{_PREFIX}_probe_duration_seconds",
            "How long a round of probes of Harbor and its projects took.",
            buckets=_PROBE_BUCKETS,
            registry=registry,
        )
        self.probe_failures = Counter(
            f"{_PREFIX}_probe_failures_total",
            "Probes that failed, by project (empty for Harbor as a whole) and cause.",
            ["project", "cause"],
            registry=registry,
        )
        self.snapshot_age = Gauge(
            f"{_PREFIX}_snapshot_age_seconds",
            "The age of what is known of Harbor; beyond probe.maxAge nothing is rewritten.",
            registry=registry,
        )


class FileMetrics:
    """
    What became of the mounted files: config, quarantine, certificate, and Harbor's CA bundle.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reloads = Counter(
            f"{_PREFIX}_config_reload_total",
            "Mounted files (config, quarantine, certificate, ca) that changed and were read again.",
            ["result"],
            registry=registry,
        )
        self.refused = Gauge(
            f"{_PREFIX}_file_refused",
            "Whether a mounted file, as it is now, can't be used (1), so that the last good one stays.",
            ["file"],
            registry=registry,
        )
        _begin_at_zero(self.reloads, _RELOADS)


class ProcessMetrics:
    """
    What both processes count: what they know of Harbor, and the files and the certificate they go by.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Info(f"{_PREFIX}_build", "The version that runs.", registry=self.registry)
        build.info({"version": __version__})
        self.harbor = HarborMetrics(self.registry)
        self.files = FileMetrics(self.registry)
        self.certificate_not_after = Gauge(
            f"{_PREFIX}_certificate_not_after_seconds",
            "When the serving certificate ends, in seconds since 1970.",
            registry=self.registry,
        )
        self.quarantined_images = Gauge(
            f"{_PREFIX}_quarantined_images",
            "Images that are quarantined since Harbor could not serve them.",
            registry=self.registry,
        )


class WebhookMetrics(ProcessMetrics):
    """
    The metrics of `harbor-cache serve`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reviews = Counter(
            f"{_PREFIX}_reviews_total",
            "Admission reviews answered.",
            ["mode", "operation", "outcome"],
            registry=self.registry,
        )
        self.images = Counter(
            f"{_PREFIX}_images_total",
            "Images decided on; registry is a configured host or 'other'.",
            ["registry", "outcome", "reason"],
            registry=self.registry,
        )
        self.review_duration = Histogram(
            f"{_PREFIX}_review_duration_seconds",
            "From a review's whole body to its answer.",
            ["mode"],
            buckets=_REVIEW_BUCKETS,
            registry=self.registry,
        )
        # What every review asks for: `labels` takes a lock and builds a key each time.
        self.reviews_of = cache(self.reviews.labels)
        self.images_of = cache(self.images.labels)
        self.review_duration_of = cache(self.review_duration.labels)
        for mode in ("enforce", "audit"):
            self.review_duration_of(mode)


class ControllerMetrics(ProcessMetrics):
    """
    The metrics of `harbor-cache controller`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pods = Gauge(
            f"{_PREFIX}_pods",
            "Pods of opted-in namespaces: pulling through Harbor, direct, or restored.",
            ["state"],
            registry=self.registry,
        )
        self.pods_recovered = Counter(
            f"{_PREFIX}_pods_recovered_total",
            "Pods that were moved: restored to their original image, or rescued.",
            ["cause"],
            registry=self.registry,
        )
        self.recovery_failures = Counter(
            f"{_PREFIX}_recovery_failures_total",
            "Containers that could not, or must not, be moved.",
            ["cause"],
            registry=self.registry,
        )
        self.pods_to_rescue = Gauge(
            f"{_PREFIX}_pods_to_rescue",
            "Pods that wait for their upstream although Harbor can serve them, by their namespace's"
            " mode: about to be moved (enforce), or left (audit).",
            ["mode"],
            registry=self.registry,
        )
        for mode in ("enforce", "audit"):
            self.pods_to_rescue.labels(mode)
        _begin_at_zero(self.pods_recovered, _RECOVERIES)
        _begin_at_zero(self.recovery_failures, _RECOVERY_FAILURES)
