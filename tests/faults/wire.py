"""
Clients of a replica that are no API server, and what they cost it.
"""

import asyncio
import contextlib
import json
import ssl

from pathlib import Path


__all__ = ["connect", "large_review", "peak_memory", "post"]


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def post(port: int, body: bytes) -> int:
    reader, writer = await connect(port)
    try:
        head = f"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(30):
            await writer.drain()
            return int((await reader.readline()).split()[1])
    finally:
        with contextlib.suppress(OSError):
            writer.transport.abort()


def large_review() -> bytes:
    pod = {
        "metadata": {},
        "spec": {"containers": [{"name": "a", "image": "nginx", "args": ["x" * 9_000_000]}]},
    }
    request = {
        "uid": "1",
        "kind": {"version": "v1", "kind": "Pod"},
        "resource": {"version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "object": pod,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()


def peak_memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
