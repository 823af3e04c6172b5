"""A pool that grows, batch by batch: does an entry take as long in a large one as in a small one?"""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.memory import peak, resident, start_peak

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from laila.contract.pool import Pool

__all__ = ["figures", "grow_all"]

# What a pool may keep in this process for an entry, in bytes: all of it, an index, nothing.
RESIDENT = {"memory": 1500, "HDF5": 500, "Redis": 50}
BATCH = 1000
_READS = 20_000


def figures(kind: str, count: int) -> list[Figure]:
    """What :func:`grow` measures."""
    name = f"{kind}, {count:,}"
    found = [
        Figure(f"{name}: write", per="entry"),
        Figure(f"{name}: read", per="entry"),
        # The first tenth is of a pool a tenth as large: what grows with the size would show tenfold.
        Figure(f"{name}: write, last tenth / first", at_most=1.5, unit="×"),
        Figure(f"{name}: read, last / first", at_most=1.5, unit="×"),
        Figure(f"{name}: resident memory", at_most=RESIDENT[kind], unit="B", per="entry"),
        Figure(f"{name}: keys()", per="key"),
        # Streamed. A list of a million ids takes 130 MiB.
        Figure(f"{name}: keys(), peak memory", at_most=16, unit="MiB"),
    ]
    if kind == "HDF5":
        found += [
            Figure(f"{name}: file", at_most=500, unit="B", per="entry"),
            Figure(f"{name}: open", at_most=2e-6, per="entry"),
        ]
    return found


def grow_all(bench: Bench, sizes: Sequence[tuple[str, int]]) -> None:
    """Grow a new pool of each kind to each size."""
    from laila.pool.hdf5 import HDF5Pool
    from laila.pool.memory import MemoryPool
    from laila.pool.redis import RedisPool

    for kind, count in sizes:
        if kind == "HDF5":
            path = bench.folder / f"{count}.h5"
            pool: Pool = HDF5Pool(path)
            grow(bench, f"{kind}, {count:,}", pool, bench.size(count))
            pool.close()
            reopen(bench, f"{kind}, {count:,}", path, bench.size(count))
            continue
        pool = MemoryPool() if kind == "memory" else RedisPool(bench.servers["redis"]["url"], prefix="grow")
        grow(bench, f"{kind}, {count:,}", pool, bench.size(count))
        pool.empty()
        pool.close()


def reopen(bench: Bench, name: str, path: Path, count: int) -> None:
    """How large the file is, and how long it takes to open it and look for a key."""
    from laila.pool.hdf5 import HDF5Pool

    bench.note(f"{name}: file", path.stat().st_size / count)
    for _ in range(3):
        begun = perf_counter()
        with HDF5Pool(path) as pool:
            assert "no such key" not in pool
            bench.note(f"{name}: open", (perf_counter() - begun) / count)


def grow(bench: Bench, name: str, pool: Pool, count: int) -> None:
    """Write ``count`` entries of a small dict in calls of 1,000, read some, list them."""
    import laila

    laila.alpha_pool = laila.memory.extend(pool)
    # First what comes once: imports, connections, the file.
    laila.remember(laila.memorize([laila.constant({"step": 0, "loss": 0.5})] * 2).wait()).wait()
    before = resident()
    times: list[float] = []
    first: list[str] = []
    last: list[str] = []
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        entries = [laila.constant({"step": number, "loss": 0.5}) for number in numbers]
        begun = perf_counter()
        ids = laila.memorize(entries).wait()
        times.append((perf_counter() - begun) / len(numbers))
        first += ids[: max(0, _READS - len(first))]
        last = [*last, *ids][-_READS:]
        del entries, ids
    bench.note(f"{name}: resident memory", (resident() - before) * 2**20 / count)
    bench.note(f"{name}: write", statistics.median(times))
    tenth = max(1, len(times) // 10)
    bench.note(
        f"{name}: write, last tenth / first",
        statistics.median(times[-tenth:]) / statistics.median(times[:tenth]),
    )
    # Each other call reads of the first, and of the last, so that what the machine does meanwhile hits both.
    reads: tuple[list[float], list[float]] = ([], [])
    for start in range(0, min(len(first), len(last)), BATCH):
        for ids, taken in zip((first, last), reads, strict=True):
            begun = perf_counter()
            laila.remember(ids[start : start + BATCH]).wait()
            taken.append((perf_counter() - begun) / len(ids[start : start + BATCH]))
    bench.note(f"{name}: read", statistics.median(reads[1]))
    bench.note(
        f"{name}: read, last / first",
        statistics.median(reads[1]) / statistics.median(reads[0]),
    )
    low = start_peak()
    begun = perf_counter()
    listed = sum(1 for _ in pool.keys(as_generator=True))
    bench.note(f"{name}: keys()", (perf_counter() - begun) / listed)
    bench.note(f"{name}: keys(), peak memory", peak() - low)
    assert listed >= count
