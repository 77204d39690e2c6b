"""
A real node for the tests; README.md beside this file says how to use it.
"""

from contextlib import ExitStack

import pytest

from tests.support.kube.client import ApiClient
from tests.support.kube.controllers import Controller
from tests.support.kube.namespaces import namespaces
from tests.support.node.requirements import missing
from tests.support.node.site import PROGRAMS, Site
from webhook.demo.cluster import ClusterError, find_binaries


@pytest.fixture(scope="session")
def _equipped():
    lacks = missing()
    try:
        find_binaries(PROGRAMS)
    except ClusterError:
        lacks.append("The programs of a node are not built: `make node-test` builds them.")
    if lacks:
        pytest.fail("\n".join(lacks), pytrace=False)


@pytest.fixture(scope="session")
def _shared_site(request, _equipped):
    # Pulls side by side, as is recommended: one that hangs must not hold up the next test.  What a
    # kubelet does by default is measured in test_hung_pulls.py.
    with Site(kubelet_options=["--serialize-image-pulls=false"]) as running:
        yield running
        running.keep = bool(request.session.testsfailed)


@pytest.fixture
def site(_shared_site):
    """
    Provide the session's site, and repair it after the test.
    """
    yield _shared_site
    _shared_site.repair()


@pytest.fixture
def make_site(request, _equipped):
    """
    Start a site of this test's own, with options for `Site`.
    """
    with ExitStack() as stack:
        made = []

        def make(**options):
            made.append(stack.enter_context(Site(**options)))
            return made[-1]

        yield make
        for each in made:
            each.keep = bool(request.session.testsfailed)


@pytest.fixture
async def client(site):
    async with ApiClient(site.cluster) as opened:
        yield opened


@pytest.fixture
async def make_namespace(site, client):
    await site.wait_until_rewriting(client)
    async with namespaces(client, service_accounts=True) as make:
        yield make


@pytest.fixture
def make_controller(site, tmp_path):
    """
    Make a controller whose `recovery` section is given; its objects are in the default namespace.
    """

    def make(**recovery):
        config = {**site.config, "recovery": recovery}
        return Controller(tmp_path, site.cluster.kubeconfig(), "default", config)

    return make
