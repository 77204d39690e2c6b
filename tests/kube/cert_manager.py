"""
cert-manager itself issues and renews the webhook's pair; `make cert-manager` builds and runs it.

It takes three minutes to build, so the name of this file keeps it out of the other test runs.
"""

import json
import shutil
import time

from contextlib import ExitStack

import pytest
import trustme
import yaml

from cryptography import x509

from tests.support.golang import built, module_directory
from tests.support.helm import NAMESPACE, helm, render
from tests.support.kube.addresses import own_address
from tests.support.kube.client import ApiClient
from tests.support.kube.controllers import eventually
from tests.support.kube.creation import constant_creation, fail_open_count
from tests.support.kube.installation import wait_until_rewriting
from tests.support.kube.installed import NAME, without_hooks
from tests.support.kube.mounted import MountedPair, in_background
from tests.support.kube.namespaces import namespaces
from tests.support.kube.webhook import WebhookProcess, configuration
from tests.support.oracles import SOURCE
from webhook.demo.cluster import free_port
from webhook.demo.program import Program
from webhook.demo.standin import HarborStandIn, ThreadedStandIn


pytestmark = pytest.mark.kube

_MODULE = "github.com/cert-manager/cert-manager"
_SOURCE = SOURCE.with_name("certmanager")
_PROGRAMS = ("controller", "webhook", "cainjector")
_THEIRS = "cert-manager"
_CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}"
_SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}-tls"
_PAIRS = 5  # Issued once, renewed four times.


def _cert_manager_objects(directory, webhook_port):
    """
    Return cert-manager's definitions and its two webhooks, as its own chart renders them.
    """
    module = module_directory(_MODULE, within=_SOURCE)
    chart = directory / "chart"
    shutil.copytree(module / "deploy/charts/cert-manager", chart, copy_function=shutil.copyfile)
    (chart / "templates").chmod(0o755)
    chart.chmod(0o755)
    (chart / "Chart.template.yaml").rename(chart / "Chart.yaml")
    for definition in (module / "deploy/crds").glob("*.yaml"):
        shutil.copyfile(definition, chart / "templates" / definition.name)
    values = (
        f"installCRDs=true,startupapicheck.enabled=false,webhook.url.host=localhost:{webhook_port}"
    )
    rendered = helm("template", _THEIRS, str(chart), "--namespace", _THEIRS, "--set", values)

    assert "" == rendered.stderr
    wanted = ("CustomResourceDefinition", "WebhookConfiguration")
    return [
        item
        for item in yaml.safe_load_all(rendered.stdout)
        if item and item["kind"].endswith(wanted)
    ]


def _programs(directory, kubeconfig, webhook_port):
    """
    Return cert-manager's three programs.
    """
    built_in = built(_SOURCE, *(f"{_MODULE}/cmd/{name}" for name in _PROGRAMS))
    elect = "--leader-elect=false"
    options = {
        "controller": (
            *(elect, f"--cluster-resource-namespace={_THEIRS}"),
            f"--metrics-listen-address=127.0.0.1:{free_port()}",
        ),
        "webhook": (
            *(f"--secure-port={webhook_port}", f"--healthz-port={free_port()}"),
            f"--dynamic-serving-ca-secret-namespace={_THEIRS}",
            "--dynamic-serving-ca-secret-name=cert-manager-webhook-ca",
            "--dynamic-serving-dns-names=localhost",
        ),
        "cainjector": (elect,),
    }
    return [
        Program(
            [built_in / name, f"--kubeconfig={kubeconfig}", *options[name]],
            log=directory / f"cert-manager-{name}.log",
        )
        for name in _PROGRAMS
    ]


def _endpoints(address, port):
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }


def _served(webhook):
    """
    Return the serial number of the certificate that the webhook says it serves.
    """
    text = json.loads(webhook.read("/status"))["certificate"]
    return x509.load_pem_x509_certificate(text.encode()).serial_number


async def _renew_all_the_time(client):
    """
    Have cert-manager renew the pair 20 seconds after it issued it: an hour is the least that it takes.
    """
    path = f"/apis/cert-manager.io/v1/namespaces/{NAMESPACE}/certificates/{NAME}"
    (await client.patch(path, {"spec": {"renewBefore": "59m40s"}}, kind="merge-patch")).expect()


async def test_cert_manager_issues_and_renews(start_cluster, tmp_path):
    """
    Each pair that cert-manager renews is served without a restart, and every Pod is rewritten.
    """
    cluster = start_cluster(flags=["--enable-aggregator-routing=true"])
    webhook_port = free_port()
    async with ApiClient(cluster) as client:
        for name in (_THEIRS, NAMESPACE):
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            (await client.apply(space)).expect()
        for item in _cert_manager_objects(tmp_path, webhook_port):
            (await client.apply(item)).expect()
        with ExitStack() as stack, ThreadedStandIn(HarborStandIn()) as harbor:
            for program in _programs(tmp_path, cluster.kubeconfig(), webhook_port):
                program.start()
                stack.callback(program.stop)
            objects = without_hooks(
                render(
                    *("--set", f"config.harbor.url={harbor.url}"),
                    *("--set", "tls.mode=cert-manager,tls.certManager.duration=1h"),
                )
            )

            async def installed():
                """
                Whether all is accepted; cert-manager's own webhook takes a moment to be one.
                """
                for item in objects:
                    (await client.apply(item)).expect()
                return True

            await eventually(installed)
            webhook = WebhookProcess(
                tmp_path / "webhook",
                configuration(harbor.url),
                trustme.CA(),
                options=("--host=0.0.0.0",),
            )
            webhook.certificate_file.unlink()
            webhook.key_file.unlink()
            mounted = MountedPair(client, _SECRET, webhook)
            (await client.apply(_endpoints(own_address(), webhook.port))).expect()
            webhook.program.start()
            stack.callback(webhook.stop)
            async with (
                namespaces(client, service_accounts=False) as make,
                in_background(mounted.run()) as loops,
            ):
                namespace = await make("enforce")
                host = harbor.url.removeprefix("http://")
                await wait_until_rewriting(client, namespace, host, rewriting=True, within=60)
                pid, first = webhook.program.pid, _served(webhook)
                failed_open = await fail_open_count(client)
                await _renew_all_the_time(client)
                started = time.monotonic()
                async with constant_creation(client, namespace, dry_run=True) as pods:

                    async def renewed():
                        return len(mounted.pairs) >= _PAIRS

                    await eventually(renewed, seconds=300)
                failed_open = await fail_open_count(client) - failed_open
                seconds = time.monotonic() - started
                served = _served(webhook)
                configuration_now = await client.get(_CONFIGURATION)
                authority = (await client.get(_SECRET))["data"]["ca.crt"]
                ended = [each for each in loops if each.done()]
    print(
        f"{len(mounted.pairs)} pairs in {seconds:.0f} s: {pods.accepted} Pods accepted,"
        f" {pods.refused} refused, {pods.missed} not rewritten, failed open {failed_open:.0f} times"
    )

    assert [] == ended
    assert (0, 0, 0) == (pods.refused, pods.missed, failed_open)
    assert pods.accepted > 10 * _PAIRS
    assert pid == webhook.program.pid
    assert {authority} == {e["clientConfig"]["caBundle"] for e in configuration_now["webhooks"]}
    assert served in mounted.pairs - {first}
