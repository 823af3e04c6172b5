"""A peer in another process: remember a dict of 1 KiB; beside a websockets server that sends 1 KiB back."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.peers import answering, laila_node

FIGURES = [
    Figure(
        "remember a dict of 1 KiB",
        ratio=2.5,
        known=3.5,
        why="the loop's thread here, the call's parts and checks in Python there; no single piece is dear",
    )
]
NAME = FIGURES[0].name
TIMES, CALLS = 7, 300


def ours(bench: Bench) -> None:
    import laila

    with laila_node() as (uri, secret):
        peer = laila.peers[laila.add_peer(uri, secret)]
        entry = laila.constant({f"key {i}": "x" * 50 for i in range(16)})
        peer.central.memory.memorize(entry).wait()
        key = entry.global_id

        def calls() -> None:
            for _ in range(CALLS):
                peer.central.memory.remember(key).wait()

        bench.time(NAME, calls, times=TIMES, per=CALLS)


def raw(bench: Bench) -> None:
    import asyncio
    from time import perf_counter

    async def ask(uri: str) -> None:
        from websockets.asyncio.client import connect

        async with connect(uri, compression=None, proxy=None) as socket:
            for number in range(TIMES + 2):
                start = perf_counter()
                for _ in range(CALLS):
                    await socket.send("1024")
                    await socket.recv()
                if number >= 2:
                    bench.note(NAME, (perf_counter() - start) / CALLS)

    with answering() as uri:
        asyncio.run(ask(uri))
