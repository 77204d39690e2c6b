"""
The survey of a cluster: what would be rewritten, what would not, and why.
"""

from webhook.survey.model import (
    HARBOR,
    UNPARSED,
    ClusterImage,
    Counts,
    NamespaceReport,
    NodePulls,
    PreflightResult,
    ProbeResult,
    RegistryReport,
    Survey,
    Unseen,
    WorkloadReport,
)


__all__ = [
    "HARBOR",
    "UNPARSED",
    "ClusterImage",
    "Counts",
    "NamespaceReport",
    "NodePulls",
    "PreflightResult",
    "ProbeResult",
    "RegistryReport",
    "Survey",
    "Unseen",
    "WorkloadReport",
]
