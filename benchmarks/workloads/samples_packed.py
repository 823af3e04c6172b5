"""S3: samples of 10 KB, packed, written and 500 of them read at random; beside tar shards by obstore.

Raw writes shards of 16 MiB as webdataset has them, built with ``tarfile``, and knows where each sample is: it
has an index in memory, as ours has the manifest. Both read with 32 requests at a time. Ours makes an entry of
each sample with an id and checksums, and verifies what it reads.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import uuid
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_bytes
from benchmarks.servers import s3_pool, s3_store

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = ("s3",)
FIGURES = [Figure("write", ratio=1.5, per="sample"), Figure("read", ratio=1.5, per="sample")]
SAMPLES, SIZE, READ = 5_000, 10_000, 500
SHARD = 16 << 20


def _samples(bench: Bench) -> list[bytes]:
    return [small_bytes(number, SIZE) for number in range(bench.size(SAMPLES))]


def _chosen(samples: int) -> list[int]:
    chosen: list[int] = np.random.default_rng(1).integers(0, samples, min(READ, samples)).tolist()
    return chosen


def ours(bench: Bench) -> None:
    import laila

    pool = s3_pool(bench.servers["s3"])
    laila.alpha_pool = laila.memory.extend(pool)
    payloads = _samples(bench)
    made: list[Any] = []

    def write() -> None:
        manifest = laila.Manifest({"samples": [laila.constant(payload) for payload in payloads]})
        manifest.memorize(pack=SHARD).wait()
        made.append(manifest.global_id)

    bench.time("write", write, per=len(payloads), times=3, warm=1)
    manifest: Any = laila.remember(made[0]).wait()
    leaves = manifest["samples"]
    chosen = [leaves[number] for number in _chosen(len(leaves))]
    bench.time(
        "read", lambda: manifest.remember(chosen, batch_size=len(chosen)).wait(), per=len(chosen), times=5
    )
    pool.empty()


def raw(bench: Bench) -> None:
    store, folder = s3_store(bench.servers["s3"]), uuid.uuid4().hex
    payloads = _samples(bench)
    loop, gate, turns = asyncio.new_event_loop(), asyncio.Semaphore(32), count()
    index: list[tuple[str, int]] = []

    def shards(turn: int) -> Iterator[tuple[str, bytes]]:
        index.clear()
        for number, start in enumerate(range(0, len(payloads), SHARD // SIZE)):
            file, name = io.BytesIO(), f"{folder}/{turn}/{number}.tar"
            with tarfile.open(fileobj=file, mode="w") as tar:
                for key, payload in enumerate(payloads[start : start + SHARD // SIZE], start):
                    member = tarfile.TarInfo(f"{key:08}.bin")
                    member.size = len(payload)
                    index.append((name, file.tell() + 512))
                    tar.addfile(member, io.BytesIO(payload))
            yield name, file.getvalue()

    async def put(name: str, data: bytes) -> None:
        async with gate:
            await store.put_async(name, data)

    async def write() -> None:
        await asyncio.gather(*[put(name, data) for name, data in shards(next(turns))])

    async def get(number: int) -> bytes:
        async with gate:
            name, start = index[number]
            return bytes(await store.get_range_async(name, start=start, length=SIZE))

    async def read() -> None:
        await asyncio.gather(*map(get, _chosen(len(payloads))))

    bench.time("write", lambda: loop.run_until_complete(write()), per=len(payloads), times=3, warm=1)
    bench.time("read", lambda: loop.run_until_complete(read()), per=min(READ, len(payloads)), times=5)
    loop.close()
