import pytest

from tests.support.helm import CHART, helm, refusal


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("replicas=3", "Additional property replicas is not allowed"),
        ("webhook.replica=3", "webhook: Additional property replica is not allowed"),
        ("webhook.replicas=three", "webhook.replicas: Invalid type. Expected: integer"),
        ("webhook.replicas=0", "webhook.replicas: Must be greater than or equal to 1"),
        ("config.harbour.url=x", "config: Additional property harbour is not allowed"),
        ("config.probe.intervall=5s", "config.probe: Additional property intervall"),
        ("config.probe.interval=5", "config.probe.interval: Invalid type. Expected: string"),
        ("config.paused=maybe", "config.paused: Invalid type. Expected: boolean"),
        ("config.mode=off", "config.mode: config.mode must be one of"),
        ("config.registries[0].host=x", "config.registries.0: project is required"),
        ("timeoutSeconds=31", "timeoutSeconds: Must be less than or equal to 30"),
        ("failurePolicy=ignore", "failurePolicy: failurePolicy must be one of"),
        ("image.digest=abc", "image.digest: Does not match pattern"),
        ("excludeNamespaces=dex", "excludeNamespaces: Invalid type. Expected: array"),
        ("commonLabels.team=1", "commonLabels.team: Invalid type. Expected: string"),
        ("tls.mode=cert_manager", "tls.mode: tls.mode must be one of"),
        ("tls.mode=existingSecret", "tls.existingSecret: String length must be"),
        ("webhook.hostNetwork=true", "webhook.port: Must not validate the schema (not)"),
    ],
)
def test_wrong_values_are_refused_by_name(value, said):
    """
    An unknown key or a wrong value is an error that names it.
    """
    assert said in refusal("--set", value)


def test_no_controller_needs_another_way_to_a_certificate():
    """
    Without the controller nobody would issue the certificate in mode self-managed.
    """
    said = refusal("--set", "controller.enabled=false")

    assert 'tls.mode must be one of the following: "cert-manager", "existingSecret"' in said


def test_a_missing_harbor_is_named_with_an_example():
    """
    The one value without a default is asked for in plain words.
    """
    result = helm("template", "x", str(CHART))

    assert result.returncode != 0
    assert "config.harbor.url is missing" in result.stderr
    assert "--set config.harbor.url=https://" in result.stderr


def test_old_clusters_are_refused():
    """
    Kubernetes before 1.30 lacks admission policies, so helm refuses it.
    """
    said = refusal("--kube-version", "1.29.9")

    assert "which is incompatible with Kubernetes v1.29.9" in said
