"""
Entries of `excludeOwners`, `excludePods` and `placeholders`: what can match nothing is refused.
"""

import json

import pytest

from tests.config.test_model import MINIMAL, parse, problems


def _list(key, entry):
    return f"{MINIMAL}{key}: [{json.dumps(entry)}]\n"


@pytest.mark.parametrize(
    "owner",
    [
        "apps",
        "kubevirt.io",
        "a.b-c.example.com",
        "StatefulSet.apps",
        "CronJob.batch",
        "VirtualMachineInstance.kubevirt.io",
        "Service",
        "ReplicationController",
        "Node",
    ],
)
def test_owners_that_can_match(owner):
    """
    An API group, Kind.group, and a Kind of the core group are taken as they are.
    """
    assert (owner,) == parse(_list("excludeOwners", owner)).exclude_owners


@pytest.mark.parametrize(
    ("owner", "advice"),
    [
        ("", "an API group (kubevirt.io)"),
        ("kubevirt.io/v1", "write 'kubevirt.io'"),
        ("apps/v1", "write 'apps'"),
        ("v1", "leave the version out"),
        ("Service.v1", "leave the version out"),
        ("Deployment.v1.apps", "leave the version out"),
        ("*.kubevirt.io", "no wildcards"),
        ("*", "no wildcards"),
        ("KubeVirt.io", "write kubevirt.io"),
        ("Kubevirt.IO", "an API group"),
        ("kubevirt", "no API group 'kubevirt'"),
        ("service", "no API group 'service'"),
        ("StatefulSet", "write StatefulSet.apps"),
        ("Job", "write Job.batch"),
        ("VirtualMachine", "write VirtualMachine.group"),
        ("statefulsets.apps", "write Kind.apps"),
        ("Job.apps", "has no kind 'Job'"),
        ("Service.", "an API group"),
        (".apps", "an API group"),
        ("apps.", "an API group"),
        ("my_group.io", "an API group"),
        (" apps", "an API group"),
        ("apps\n", "an API group"),
        ("ApiVersion: apps", "an API group"),
    ],
)
def test_owners_that_match_nothing(owner, advice):
    """
    What no owner of a Pod is called is refused, with what to write instead.
    """
    [line] = problems(_list("excludeOwners", owner))

    assert line.startswith(f"excludeOwners[0]: {owner!r}")
    assert advice in line


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("", "is empty, which matches every Pod"),
        (" ", "is empty, which matches every Pod"),
        ("a b", "is no label selector"),
        ("a=1,a=2", "asks of the label 'a' what no Pod can have"),
    ],
)
def test_bad_selectors(selector, said):
    """
    A selector that is none, or that matches all or nothing, is refused.
    """
    [line] = problems(_list("excludePods", selector))

    assert line.startswith("excludePods[0]: ")
    assert said in line


@pytest.mark.parametrize("placeholder", ["", " auto", "auto\n"])
def test_placeholders_that_no_container_can_have(placeholder):
    """
    The API server refuses images that are empty or have white space around them.
    """
    [line] = problems(_list("placeholders", placeholder))

    assert line.startswith("placeholders[0]: ")
