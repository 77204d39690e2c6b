"""
The webhook configuration of the chart, with a URL in place of its Service.
"""

from base64 import b64encode
from typing import Any


__all__ = ["webhook_configuration"]


def webhook_configuration(
    url: str, ca_bundle: bytes, name: str = "harbor-cache-webhook"
) -> dict[str, Any]:
    """
    Return the two entries by which an API server calls the webhook at *url*.
    """
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            _entry("audit", f"{url}/audit", ca_bundle),
            _entry("enforce", f"{url}/mutate", ca_bundle),
        ],
    }


def _entry(mode: str, url: str, ca_bundle: bytes) -> dict[str, Any]:
    return {
        "name": f"{mode}.harbor-cache.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 2,
        "reinvocationPolicy": "IfNeeded",
        "matchPolicy": "Equivalent",
        "clientConfig": {"url": url, "caBundle": b64encode(ca_bundle).decode()},
        "rules": [_rule("pods", "CREATE"), _rule("pods/ephemeralcontainers", "UPDATE")],
        "namespaceSelector": {
            "matchLabels": {"harbor-cache.io/mode": mode},
            "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": ["kube-system", "kube-node-lease", "harbor-cache"],
                }
            ],
        },
        "objectSelector": {
            "matchExpressions": [
                {"key": "harbor-cache.io/mode", "operator": "NotIn", "values": ["off"]}
            ]
        },
        "matchConditions": [
            {
                "name": "no-mirror-pods",
                "expression": "!('kubernetes.io/config.mirror' in"
                " object.metadata.?annotations.orValue({}))",
            }
        ],
    }


def _rule(resource: str, operation: str) -> dict[str, Any]:
    return {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": [resource],
        "operations": [operation],
        "scope": "Namespaced",
    }
