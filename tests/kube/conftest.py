"""
A real API server for the tests; one per test process, started when the first test asks for it.

- `cluster`: etcd and kube-apiserver, shared by the session; its audit log is on.
- `client`: an `ApiClient` of its administrator.
- `make_namespace`: makes namespaces with a mode label, and deletes them after the test.
- `start_cluster`: starts one more cluster with options of its own, for one test.
"""

import shutil

from contextlib import ExitStack

import pytest

from tests.support.kube.client import ApiClient
from tests.support.kube.namespaces import namespaces
from webhook.demo.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, audit=True) as running:
        yield running
    _keep_logs_of_failures(request.session, running)


@pytest.fixture
async def client(cluster):
    async with ApiClient(cluster) as opened:
        yield opened


@pytest.fixture
async def make_namespace(cluster, client):
    async with namespaces(client, service_accounts=cluster.service_accounts) as make:
        yield make


@pytest.fixture
def start_cluster(request, tmp_path):
    with ExitStack() as stack:
        started = []

        def start(**options):
            directory = tmp_path / f"cluster-{len(started)}"
            started.append(stack.enter_context(Cluster(directory, **options)))
            return started[-1]

        yield start
    for each in started:
        _keep_logs_of_failures(request.session, each)


def _keep_logs_of_failures(session, stopped):
    if session.testsfailed:
        shutil.rmtree(stopped.directory / "etcd", ignore_errors=True)
        print(f"Logs of the cluster: {stopped.directory}")
    else:
        shutil.rmtree(stopped.directory)
