"""S3: 200 entries of 64 KiB, written, read and deleted in one call each; obstore: 32 requests at a time."""

from __future__ import annotations

import asyncio
import uuid
from itertools import count
from typing import TYPE_CHECKING, Any

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_bytes
from benchmarks.servers import s3_pool, s3_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SERVERS = ("s3",)
FIGURES = [
    Figure("write", ratio=1.25, per="entry"),
    Figure("read", ratio=1.25, per="entry"),
    Figure("delete", ratio=1.25, per="entry"),
]
COUNT, SIZE = 200, 64 * 1024


def ours(bench: Bench) -> None:
    import laila

    pool = s3_pool(bench.servers["s3"])
    laila.alpha_pool = laila.memory.extend(pool)
    payloads = [small_bytes(number, SIZE) for number in range(COUNT)]
    written: list[list[str]] = []
    entries: list[Any] = []

    def make() -> None:
        entries[:] = [laila.constant(payload) for payload in payloads]

    def write() -> None:
        written.append(laila.memorize(entries).wait())

    bench.time("write", write, before=make, per=COUNT)
    ids = written[0]
    bench.time("read", lambda: laila.remember(ids).wait(), per=COUNT)
    assert [entry.data for entry in laila.remember(ids).wait()] == payloads
    batches = iter(written)
    bench.time("delete", lambda: laila.forget(next(batches)).wait(), per=COUNT)


def raw(bench: Bench) -> None:
    store = s3_store(bench.servers["s3"])
    payloads = [small_bytes(number, SIZE) for number in range(COUNT)]
    folder = uuid.uuid4().hex
    loop = asyncio.new_event_loop()
    gate = asyncio.Semaphore(32)

    async def each(ask: Callable[[int], Awaitable[object]]) -> None:
        async def one(number: int) -> None:
            async with gate:
                await ask(number)

        await asyncio.gather(*map(one, range(COUNT)))

    async def read(number: int) -> None:
        await (await store.get_async(f"{folder}/0/{number}")).bytes_async()

    def write(turn: int) -> None:
        loop.run_until_complete(
            each(lambda number: store.put_async(f"{folder}/{turn}/{number}", payloads[number]))
        )

    def delete(turn: int) -> None:
        loop.run_until_complete(each(lambda number: store.delete_async(f"{folder}/{turn}/{number}")))

    turns, gone = count(), count()
    bench.time("write", lambda: write(next(turns)), per=COUNT)
    bench.time("read", lambda: loop.run_until_complete(each(read)), per=COUNT)
    bench.time("delete", lambda: delete(next(gone)), per=COUNT)
    loop.close()
