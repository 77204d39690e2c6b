"""
What holds the webhook's certificates in a cluster.
"""

import base64

from certs.bundle import Bundle, Pair


__all__ = ["Certificates"]

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def _configuration(name, namespace):
    def entry(webhook):
        return {
            "name": webhook,
            "clientConfig": {"service": {"name": "hook", "namespace": namespace, "path": "/x"}},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nowhere"}},
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }

    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [entry("enforce.example.com"), entry("audit.example.com")],
    }


class Certificates:
    """
    The two Secrets and the webhook's configuration that a controller fills, empty at first.

    `options` tell the controller of them.
    """

    def __init__(self, client, namespace):
        self.client = client
        self.namespace = namespace
        self.configuration = f"{_CONFIGURATIONS}/{namespace}"
        secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self.authority, self.serving = f"{secrets}/ca", f"{secrets}/tls"
        self.options = (
            *("--ca-secret", "ca", "--tls-secret", "tls", "--service", "hook"),
            *("--webhook-configuration", namespace),
        )

    async def create(self):
        for name in ("ca", "tls"):
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {"name": name, "namespace": self.namespace},
            }
            (await self.client.create(secret)).expect()
        body = _configuration(self.namespace, self.namespace)
        (await self.client.create(body)).expect()

    async def data(self, path):
        data = (await self.client.get(path)).get("data") or {}
        return {key: base64.b64decode(value) for key, value in data.items()}

    async def bundles(self):
        webhooks = (await self.client.get(self.configuration))["webhooks"]
        return [base64.b64decode(w["clientConfig"].get("caBundle") or "") for w in webhooks]

    async def good_pair(self):
        """
        Return the serving pair if it is whole, and every entry trusts it.
        """
        data = await self.data(self.serving)
        bundles = await self.bundles()
        if not data or not all(bundles):
            return None
        pair = Pair.parse(data["tls.crt"], data["tls.key"])
        signers = [Bundle.salvage(pem).signer_of(pair.certificate) for pem in bundles]
        return pair if all(signers) else None
