import json
import re

import yaml

from charts.generate import documented_values, generated
from tests.support.helm import CHART
from webhook import __version__


def test_generated_files_are_current():
    """
    The README's values and the schema of `config` are what `make chart` writes.
    """
    stale = [path.name for path, text in generated().items() if path.read_text() != text]

    assert stale == [], "run `make chart` and commit what it wrote"


def test_every_value_is_documented():
    """
    Every value that can be set has a comment, and so a line in the README.
    """
    text = (CHART / "values.yaml").read_text()
    documented = {value.path for value in documented_values(text)}

    def leaves(values, path=""):
        for key, value in values.items():
            here = f"{path}{key}"
            if here in documented or not isinstance(value, dict) or not value:
                yield here
            else:
                yield from leaves(value, f"{here}.")

    assert set(leaves(yaml.safe_load(text))) == documented


def test_every_value_is_in_the_schema():
    """
    The schema knows exactly the values that exist, so that a typing mistake is an error.
    """
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert set(values) | {"global"} == set(schema["properties"])
    for section in ("image", "tls", "webhook", "controller", "networkPolicy", "serviceMonitor"):
        assert set(values[section]) == set(schema["properties"][section]["properties"]), section
        assert schema["properties"][section]["additionalProperties"] is False


def test_the_chart_names_the_program_s_version():
    """
    The image that is deployed by default is the one of this source tree.
    """
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert __version__ == chart["appVersion"]
    assert chart["kubeVersion"] == ">=1.30.0-0"


def test_artifact_hub_annotations_can_be_read():
    """
    Artifact Hub reads two of its annotations as YAML of their own.
    """
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    changes = yaml.safe_load(annotations["artifacthub.io/changes"])

    assert {"added", "changed", "fixed", "removed", "security", "deprecated"} >= {
        change["kind"] for change in changes
    }
    assert annotations["artifacthub.io/license"] == "Apache-2.0"


def test_the_readme_shows_the_documented_permissions():
    """
    What the README says of the controller's permissions is what the role grants.
    """
    readme = (CHART / "README.md").read_text()

    for phrase in ("get, list, watch and patch Pods", "list and watch namespaces", "its Lease"):
        assert re.search(re.escape(phrase), readme), phrase
