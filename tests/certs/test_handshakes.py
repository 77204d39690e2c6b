import asyncio
import datetime as dt

from certs.bundle import fingerprint
from certs.rotation import Lifetimes, Observed, Rest, WriteAuthority, WriteBundle, next_step
from certs.source import FileSource
from tests.support import tls


async def test_rotations_under_continuous_handshakes(tmp_path):
    """
    Over ten serving pairs and two rotations of the authority, no real handshake fails.

    Clients trust what caBundle holds when they connect, and nothing else.  OpenSSL goes by
    the real time, so a new pair or authority is brought about by breaking what is stored.
    """
    source = FileSource(tmp_path / "tls.crt", tmp_path / "tls.key")
    lifetimes = Lifetimes(
        authority=dt.timedelta(days=9),
        serving=dt.timedelta(days=3),
        settling=dt.timedelta(0),
    )
    authority, serving, bundle = {}, {}, b""
    seen, failures, done = set(), [], asyncio.Event()
    counts = {"handshakes": 0, "authorities": 0, "pairs": 0}

    async def knock(port):
        while not done.is_set():
            try:
                async with tls.connected(port, tls.trusting(bundle)) as connection:
                    assert await connection.echoes()
                    seen.add(fingerprint(connection.certificate))
            except (OSError, AssertionError, ValueError) as error:
                failures.append(repr(error))
            counts["handshakes"] += 1

    async def maintain():
        nonlocal bundle
        for _ in range(10):
            step = next_step(
                Observed(authority, serving, (bundle,)),
                names=tls.NAMES,
                lifetimes=lifetimes,
                now=tls.now(),
            )
            if isinstance(step, Rest):
                return
            if isinstance(step, WriteBundle):
                bundle = step.pem
            elif isinstance(step, WriteAuthority):
                authority.update(step.data)
                counts["authorities"] += "ca.key" in step.data
            else:
                serving.update(step.data)
                counts["pairs"] += "tls.key" in step.data
                (tmp_path / "tls.crt").write_bytes(serving["tls.crt"])
                (tmp_path / "tls.key").write_bytes(serving["tls.key"])
                source.check()
            await asyncio.sleep(0.02)
        raise AssertionError("never rests")

    await maintain()
    async with tls.serving(source.context) as port:
        clients = [asyncio.create_task(knock(port)) for _ in range(3)]
        for turn in range(12):
            await asyncio.sleep(0.05)
            if turn in {4, 8}:
                authority["ca.key"] = b""  # The authority is lost: another is needed.
            else:
                serving["tls.key"] = b""  # The pair in the Secret is broken: another is needed.
            await maintain()
        await asyncio.sleep(0.05)
        done.set()
        await asyncio.gather(*clients)

    print(f"\n{counts}, {len(failures)} failures, {len(seen)} different certificates seen")
    assert failures == []
    assert counts["authorities"] == 3
    assert counts["pairs"] == 13
    assert len(seen) >= 10
    assert counts["handshakes"] > 30
