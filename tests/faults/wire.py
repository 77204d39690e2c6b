"""
Clients of a replica that are no API server, and what they cost it.
"""

import asyncio
import contextlib
import functools
import json
import ssl

from pathlib import Path


__all__ = ["connect", "head_of", "large_review", "memory", "peak_memory", "post"]


@functools.cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=_context())


def head_of(body: bytes) -> bytes:
    """
    Return what goes before *body* in a request.
    """
    lines = ("POST /mutate HTTP/1.1", "Host: x", "Content-Type: application/json")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()


async def post(port: int, body: bytes, *, within: float = 30.0) -> int:
    writer = None
    try:
        async with asyncio.timeout(within):
            reader, writer = await connect(port)
            writer.write(head_of(body) + body)
            await writer.drain()
            return int((await reader.readline()).split()[1])
    finally:
        if writer is not None:
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
    return _status(pid, "VmHWM")


def memory(pid: int) -> float:
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> float:
    """
    Return mebibytes.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
