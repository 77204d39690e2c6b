"""
Faults of the serving certificate, and the exchange of its authority.
"""

import asyncio

from datetime import UTC, datetime, timedelta
from typing import Final

import trustme

from tests.faults.scenario import Faults
from tests.faults.stage import Stage


__all__ = ["FAULTS"]

FAULTS: Final = Faults()


@FAULTS.named("An expired certificate is written")
async def _expired(stage: Stage) -> str:
    long_ago = datetime.now(UTC) - timedelta(days=1)
    pair = stage.authority.issue_cert("127.0.0.1", not_after=long_ago)
    return await _bad_pair(stage, pair, pair)


@FAULTS.named("A certificate with another key is written")
async def _mismatch(stage: Stage) -> str:
    first, second = (stage.authority.issue_cert("127.0.0.1") for _ in range(2))
    return await _bad_pair(stage, first, second)


async def _bad_pair(stage: Stage, certificate: trustme.LeafCert, key: trustme.LeafCert) -> str:
    before = [
        (each.certificate_file, each.certificate_file.read_bytes()) for each in stage.replicas
    ]
    before += [(each.key_file, each.key_file.read_bytes()) for each in stage.replicas]
    try:
        async with stage.refusing():
            for replica in stage.replicas:
                replica.certificate_file.write_bytes(certificate.cert_chain_pems[0].bytes())
                replica.key_file.write_bytes(key.private_key_pem.bytes())
            await asyncio.sleep(2.5)  # Until it has been looked at.
        await stage.shake_hands_again()
        await stage.stays(1, hub=True, quay=True)
    finally:
        for file, content in before:
            file.write_bytes(content)
        await asyncio.sleep(1.5)
    await stage.until_rewritten()
    return "refused; the last good pair stays"


@FAULTS.named("The certificate authority is exchanged")
async def _rotation(stage: Stage) -> str:
    with stage.missing_none():
        authority = trustme.CA()
        old, new = stage.authority.cert_pem.bytes(), authority.cert_pem.bytes()
        await stage.set_ca_bundle(old + new)
        await asyncio.sleep(1.5)
        for replica in stage.replicas:
            pair = authority.issue_cert("127.0.0.1")
            replica.certificate_file.write_bytes(pair.cert_chain_pems[0].bytes())
            replica.key_file.write_bytes(pair.private_key_pem.bytes())
        await asyncio.sleep(2.5)
        await stage.set_ca_bundle(new)
        await asyncio.sleep(1.5)
        stage.authority = authority
    return "every Pod was rewritten"
