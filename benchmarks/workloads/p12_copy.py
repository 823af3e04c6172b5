"""``dest <= src``: 300 entries of 64 KiB from Redis to HDF5; beside a loop of MGET that writes datasets.

Both sides list the keys with SCAN, read 128 of them (8 MiB) at a time, and write into a file that is empty
and open, which they flush and sync after each 16 MiB and at the end. The loop makes a dataset of each value;
ours packs bytes of that size, verifies them, and looks whether the destination has a key already.

Memory: the same copy of 3,000 entries takes no more of it. What it does take more is its bookkeeping: a
key, a future and an index entry each, about 1 KiB.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.memory import peak, start_peak
from benchmarks.payloads import small_bytes

if TYPE_CHECKING:
    from laila.contract.pool import Pool

SERVERS = ["redis"]
FIGURES = [
    Figure(
        "copy",
        ratio=1.3,
        known=1.5,
        why="each entry is verified; a commit that outlives a crash has three syncs, where the loop has one",
        per="entry",
    ),
    Figure("peak memory of 3,000 over that of 300", at_most=12, unit="MiB"),
]
COUNT, SIZE = 300, 64 * 1024
READ, SYNC = 128, 256  # entries: 8 and 16 MiB


def ours(bench: Bench) -> None:
    import laila
    from laila.pool.hdf5 import HDF5Pool

    url = bench.servers["redis"]["url"]
    source = laila.memory.extend(url, prefix="ours")
    fill(source, bench.size(COUNT))
    dest: list[Pool] = []

    def fresh() -> None:
        while dest:
            dest.pop().close()
            (bench.folder / "ours.h5").unlink()
        dest.append(HDF5Pool(bench.folder / "ours.h5"))

    def copy() -> None:
        (dest[0] <= source).wait()

    bench.time("copy", copy, per=bench.size(COUNT), before=fresh)
    fresh()
    more = laila.memory.extend(url, prefix="more")
    fill(more, bench.size(10 * COUNT))
    start_peak()
    (dest[0] <= source).wait()
    few = peak()
    fresh()
    start_peak()
    (dest[0] <= more).wait()
    bench.note("peak memory of 3,000 over that of 300", peak() - few)
    assert len(list(dest[0].keys())) == bench.size(10 * COUNT)
    source.empty()
    more.empty()


def fill(pool: Pool, count: int) -> None:
    import laila

    for start in range(0, count, 100):
        some = [laila.constant(small_bytes(number, SIZE)) for number in range(start, min(start + 100, count))]
        laila.memorize(some, pool_id=pool.global_id).wait()


def raw(bench: Bench) -> None:
    import h5py
    import numpy as np
    import redis

    count = bench.size(COUNT)
    with redis.Redis.from_url(bench.servers["redis"]["url"]) as client:
        for number in range(count):
            client.set(f"raw/e/LAILA:ENTRY:GLOBAL_ID:{number:036d}", small_bytes(number, SIZE))
        files: list[h5py.File] = []

        def fresh() -> None:
            while files:
                files.pop().close()
            files.append(h5py.File(bench.folder / "raw.h5", "w"))

        def sync() -> None:
            files[0].flush()
            os.fsync(files[0].id.get_vfd_handle())

        def copy() -> None:
            names = list(client.scan_iter(match="raw/*", count=1000))
            for start in range(0, len(names), READ):
                some = names[start : start + READ]
                for name, value in zip(some, client.mget(some), strict=True):
                    files[0].create_dataset(name.rpartition(b":")[2], data=np.frombuffer(value, "u1"))
                if (start + READ) % SYNC == 0:
                    sync()
            sync()

        bench.time("copy", copy, per=count, before=fresh)
        assert len(files[0]) == count
        client.delete(*client.scan_iter(match="raw/*", count=1000))
        files[0].close()
