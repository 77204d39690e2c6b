"""
What helm says after an install.
"""

import re
import shutil

import pytest
import yaml

from tests.support.helm import CHART, HARBOR, NAMESPACE, helm


# `helm template` shows no notes, but a template may include them.
_AS_YAML = 'notes: |\n{{ include (print .Template.BasePath "/NOTES.txt") . | indent 2 }}\n'


@pytest.fixture
def notes(tmp_path):
    chart = shutil.copytree(CHART, tmp_path / "chart")
    (chart / "templates/notes.yaml").write_text(_AS_YAML)

    def render(*arguments):
        command = ("template", "cache", str(chart), "--namespace", NAMESPACE, *HARBOR)
        rendered = helm(*command, "--show-only", "templates/notes.yaml", *arguments)

        assert "" == rendered.stderr
        return yaml.safe_load(rendered.stdout)["notes"]

    return render


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ("tls.mode=self-managed", ["lease/{}-controller"]),
        ("tls.mode=cert-manager", ["lease/{}-controller", "secret/{}-ca", "secret/{}-tls"]),
        ("tls.mode=cert-manager,controller.enabled=false", ["secret/{}-ca", "secret/{}-tls"]),
        ("tls.mode=existingSecret,tls.existingSecret=mine,controller.enabled=false", []),
    ],
)
def test_leaving_names_what_helm_did_not_make(notes, values, left):
    """The last step deletes the Lease and cert-manager's Secrets, where there are such."""
    steps = re.findall(r"^  \d\. (.+)$", notes("--set", values), re.MULTILINE)
    names = [name.format("cache-harbor-cache-webhook") for name in left]

    assert f"helm uninstall cache --namespace {NAMESPACE}" == steps[2]
    assert [f"kubectl --namespace {NAMESPACE} delete {' '.join(names)}"] * bool(left) == steps[3:]
