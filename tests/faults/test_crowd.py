import asyncio
import ssl

import pytest
import trustme

from tests.faults.crowd import crowd


@pytest.mark.parametrize("kind", ["shaken", "once", "drip"])
async def test_clients_that_are_sent_away_come_again(kind):
    """
    A crowd goes on where the replica closes every connection, for that is what a full one does.
    """
    came = asyncio.Semaphore(0)

    async def send_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.release()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with (
        await asyncio.start_server(send_away, "127.0.0.1", 0, ssl=context) as server,
        asyncio.timeout(30),
        crowd(kind, server.sockets[0].getsockname()[1], 3),
    ):
        for _ in range(2 * 3):
            await came.acquire()


async def test_a_crowd_that_fails_does_not_keep_others_waiting():
    """
    Clients that can't begin are an error at once, and no wait for a first line without an end.
    """
    with pytest.raises(RuntimeError, match="did not begin"):
        async with asyncio.timeout(30), crowd("silent", 1_000_000, 1):
            pass
