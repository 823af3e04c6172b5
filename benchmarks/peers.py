"""The two listeners that workloads about peers talk to, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["answering", "laila_node"]

_SECRET = "the secret of the benchmarks, long enough"

_NODE = f"""
import sys, laila
protocol = laila.DefaultTCPIPProtocol(port=0, peer_secret_key={_SECRET!r})
laila.communication.add_connection(protocol)
print(protocol.uri, flush=True)
sys.stdin.read()
"""

_ANSWERING = """
import asyncio, sys
from websockets.asyncio.server import serve
async def answer(socket):
    async for size in socket:
        await socket.send(bytes(int(size)))
async def main():
    async with serve(answer, "127.0.0.1", 0, compression=None) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""


@contextmanager
def _started(code: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@contextmanager
def laila_node() -> Iterator[tuple[str, str]]:
    """A policy with a pool in memory: its URI, and its secret."""
    with _started(_NODE) as uri:
        yield uri, _SECRET


@contextmanager
def answering() -> Iterator[str]:
    """A websockets server that answers a number with so many bytes: its URI."""
    with _started(_ANSWERING) as uri:
        yield uri
