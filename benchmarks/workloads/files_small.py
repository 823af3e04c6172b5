"""Files: 1,000 entries of 1 KiB in one call each, beside plain files that are written, synced and read.

Beside it, all files are in one folder, which is synced once when all of them are there: else they could be
gone after a power failure. Ours gives each its name when it is whole, and spreads them over 256 folders,
each of which is synced.
"""

from __future__ import annotations

import os

from benchmarks.bench import Bench, Figure, sync
from benchmarks.payloads import small_bytes

FIGURES = [
    Figure("write", ratio=1.2, per="entry"),
    Figure("read", ratio=3.0, per="entry"),
    Figure("list", per="key"),
    Figure("write one", ratio=3.0),
    Figure("read one"),
]
COUNT = 1000


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = pool = laila.memory.extend(f"file://{bench.folder}/ours")
    payloads = [small_bytes(number) for number in range(COUNT)]
    ids = laila.memorize([laila.constant(payload) for payload in payloads]).wait()
    bench.time("write", lambda: laila.memorize([laila.constant(one) for one in payloads]).wait(), per=COUNT)
    bench.time("read", lambda: [one.data for one in laila.remember(ids).wait()], per=COUNT)
    listed = len(list(pool.keys()))
    bench.time("list", lambda: list(pool.keys()), per=listed)
    bench.time("write one", lambda: laila.memorize(laila.constant(payloads[0])).wait(), times=50)
    bench.time("read one", lambda: laila.remember(ids[0]).wait().data, times=50)


def raw(bench: Bench) -> None:
    payloads = [small_bytes(number) for number in range(COUNT)]
    count = iter(range(1_000_000))

    def write(payload: bytes) -> None:
        with open(bench.folder / str(next(count)), "wb", buffering=0) as file:
            file.write(payload)
            os.fsync(file.fileno())

    def write_all(some: list[bytes]) -> None:
        for payload in some:
            write(payload)
        sync(bench.folder)

    def read(name: str) -> bytes:
        with open(bench.folder / name, "rb", buffering=0) as file:
            return file.read()

    bench.time("write", lambda: write_all(payloads), per=COUNT)
    bench.time("read", lambda: [read(str(number)) for number in range(COUNT)], per=COUNT)
    listed = len(os.listdir(bench.folder))
    bench.time("list", lambda: os.listdir(bench.folder), per=listed)
    bench.time("write one", lambda: write_all(payloads[:1]), times=50)
    bench.time("read one", lambda: read("0"), times=50)
