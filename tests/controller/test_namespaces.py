"""
The modes of namespaces.
"""

import pytest

from webhook.controller.namespaces import Namespaces
from webhook.process.metrics import ControllerMetrics
from webhook.survey.selectors import find_installation


def namespace(name, mode, uid=None, **labels):
    labels = {"harbor-cache.io/mode": mode, **labels}
    return {"metadata": {"name": name, "uid": uid or name, "labels": labels}}


@pytest.fixture
def namespaces():
    found = Namespaces(None, "harbor-cache-webhook", ControllerMetrics())
    for name in ("shop", "kube-system", "harbor"):
        found.seen(namespace(name, "enforce"), listed=True)
    found.seen(namespace("trial", "audit"), listed=True)
    return found


def test_modes_are_those_of_the_labels(namespaces):
    """
    Where there is no webhook configuration to be read, labels alone have to do.
    """
    names = ("shop", "trial", "kube-system", "other")

    assert ["enforce", "audit", "", ""] == [namespaces.mode(name) for name in names]


def test_what_the_webhook_configuration_leaves_out_is_left_out(namespaces):
    """
    Admission never sees those Pods, so rescue does not either.
    """
    selector = {
        "matchLabels": {"harbor-cache.io/mode": "enforce"},
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["harbor"]}
        ],
    }
    hook = {"name": "enforce.harbor-cache.io", "namespaceSelector": selector}
    namespaces._installation = find_installation([{"webhooks": [hook]}])

    assert ["enforce", "", ""] == [namespaces.mode(n) for n in ("shop", "harbor", "trial")]


def test_a_namespace_that_is_made_anew_is_known(namespaces):
    """
    The event of the old one's end may come last.
    """
    namespaces.seen(namespace("shop", "audit", uid="new"), listed=False)
    namespaces.gone("shop")
    assert "audit" == namespaces.mode("shop")

    namespaces.gone("new")
    assert "" == namespaces.mode("shop")


def test_a_list_is_the_whole_truth(namespaces):
    """
    A namespace that lost its label while nobody looked is not in it.
    """
    namespaces.all_listed(frozenset({"trial"}))

    assert frozenset({"trial"}) == namespaces.opted_in
