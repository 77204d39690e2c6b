"""
The controller keeps the webhook's certificates, at a real API server.
"""

import pytest

from certs.bundle import names_of
from tests.support.kube.certificates import Certificates
from tests.support.kube.controllers import Controller, config_for, eventually, started


pytestmark = [pytest.mark.kube, pytest.mark.slow]


@pytest.fixture
async def objects(client, make_namespace):
    made = Certificates(client, await make_namespace())
    await made.create()
    yield made
    await client.delete(made.configuration)


@pytest.fixture
def controller(cluster, objects, tmp_path):
    def make(*arguments):
        return Controller(
            tmp_path,
            cluster.kubeconfig(),
            objects.namespace,
            config_for("http://127.0.0.1:1"),
            *objects.options,
            *arguments,
        )

    return make


async def test_empty_secrets_are_filled(objects, controller):
    """
    From empty Secrets to a pair that every entry trusts, without anybody's help.
    """
    before = await objects.client.get(objects.configuration)
    async with started(controller()) as running_controller:
        pair = await eventually(objects.good_pair)

        assert f"hook.{objects.namespace}.svc" in names_of(pair.certificate)
        after = await objects.client.get(objects.configuration)
        for webhook in after["webhooks"]:
            del webhook["clientConfig"]["caBundle"]
        assert before["webhooks"] == after["webhooks"]

        async def measured():
            return await running_controller.metric("certificate_not_after_seconds")

        not_after = pair.certificate.not_valid_after_utc.timestamp()
        assert not_after == await eventually(measured)


async def test_what_is_emptied_is_repaired(objects, controller):
    """
    Emptied Secrets and an emptied caBundle are whole again within 30 s.
    """
    async with started(controller()):
        first = await eventually(objects.good_pair)
        (
            await objects.client.patch(
                objects.serving, [{"op": "remove", "path": "/data"}], kind="json-patch"
            )
        ).expect()

        second = await eventually(objects.good_pair)
        assert second.certificate != first.certificate

        (
            await objects.client.patch(
                objects.configuration,
                [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}],
                kind="json-patch",
            )
        ).expect()
        third = await eventually(objects.good_pair)
        assert second.certificate == third.certificate

        (
            await objects.client.patch(
                objects.authority, [{"op": "remove", "path": "/data"}], kind="json-patch"
            )
        ).expect()

        async def authority_is_back():
            return (await objects.data(objects.authority)).get("ca.key")

        await eventually(authority_is_back)
        await eventually(objects.good_pair)


async def test_certificates_are_renewed(objects, controller):
    """
    With short lifetimes pairs follow each other, and at every moment the bundle trusts the pair.
    """
    lifetimes = ("--certificate-lifetime", "12s", "--ca-lifetime", "36s")
    async with started(controller(*lifetimes)) as running_controller:
        await eventually(objects.good_pair)
        seen = set()

        async def four_pairs_and_two_authorities():
            pair = await objects.good_pair()
            assert pair is not None, "the pair is not trusted"
            seen.add((pair.certificate.serial_number, pair.certificate.issuer.public_bytes()))
            return len({s for s, _ in seen}) >= 4

        await eventually(four_pairs_and_two_authorities, seconds=90)
        steps = [event["step"] for event in running_controller.events("certificates")]
        print(f"{steps.count('WriteServing')} pairs, {steps.count('WriteAuthority')} authorities")


async def test_another_mode_leaves_certificates_alone(objects, controller):
    """
    With --tls-mode none neither Secret nor configuration is touched.
    """
    before = await objects.client.get(objects.configuration)
    async with started(controller("--tls-mode", "none")) as running_controller:
        await running_controller.leads()

        async def listed():
            return running_controller.events("listed")

        await eventually(listed)

        assert before == await objects.client.get(objects.configuration)
        assert {} == await objects.data(objects.serving)
