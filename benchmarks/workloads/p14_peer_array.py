"""A peer in another process: remember an array of 16 MiB; beside a websockets server that sends as much."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.peers import answering, laila_node

FIGURES = [Figure("remember an array of 16 MiB", ratio=1.5)]
NAME = FIGURES[0].name
SIZE = 16 * 2**20


def ours(bench: Bench) -> None:
    import numpy as np

    import laila

    with laila_node() as (uri, secret):
        peer = laila.peers[laila.add_peer(uri, secret)]
        entry = laila.constant(np.arange(SIZE // 8, dtype="f8"))
        peer.central.memory.memorize(entry).wait()
        key = entry.global_id
        bench.time(NAME, lambda: peer.central.memory.remember(key).data)


def raw(bench: Bench) -> None:
    import asyncio
    from time import perf_counter

    async def ask(uri: str) -> None:
        from websockets.asyncio.client import connect

        async with connect(uri, compression=None, max_size=None, proxy=None) as socket:
            for number in range(9):
                start = perf_counter()
                await socket.send(str(SIZE))
                await socket.recv()
                if number >= 2:
                    bench.note(NAME, perf_counter() - start)

    with answering() as uri:
        asyncio.run(ask(uri))
