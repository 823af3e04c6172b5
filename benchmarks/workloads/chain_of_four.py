"""A chain of four tiers (memory, files, Redis, HDF5): 1 KiB found in the first, in the last, and nowhere.

Beside it: for a hit in the first, a pool in memory alone, since what is found there needs no disk and no
server; for the others, a read of the last tier alone, and one that misses there. A hit in the last also
keeps a copy in each of the three before it, which is what a chain is for: its time is a miss and a write
in Redis, one in a folder (``durable="process"``), one in memory, and the read itself. A new file alone
takes the system 100 to 300 µs, and a hash its index in Redis 15, where HDF5 takes 6 to read an entry: so
60.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

SERVERS = ["redis"]
FIGURES = [
    Figure("hit in the first", ratio=1.3, per="entry"),
    Figure("hit in the last, which fills the others", per="entry"),
    Figure("hit in the last, 1,000 at once", ratio=60, per="entry"),
    Figure("miss", per="entry"),
]
COUNT, ONE_BY_ONE, TIMES = 1000, 100, 5


def ours(bench: Bench) -> None:
    import laila
    from laila.pool.files import FilesystemPool
    from laila.pool.memory import MemoryPool
    from laila.pool.redis import RedisPool

    caches = [
        MemoryPool(),
        FilesystemPool(bench.folder / "files", durable="process"),
        RedisPool(bench.servers["redis"]["url"], prefix="chain"),
    ]

    def cold() -> None:
        for cache in caches:
            cache.empty()

    last = laila.memory.extend(f"hdf5://{bench.folder}/last.h5")
    laila.alpha_pool = laila.tiers(*caches, last)
    measure(bench, cold)
    cold()


def raw(bench: Bench) -> None:
    import laila

    memory = laila.alpha_pool
    last = laila.memory.extend(f"hdf5://{bench.folder}/last.h5")
    ids = [laila.memorize(laila.constant(small_bytes(number))).wait() for number in range(ONE_BY_ONE)]

    def first() -> None:
        for gid in ids:
            laila.remember(gid, pool_id=memory.global_id).wait()

    bench.time("hit in the first", first, per=len(ids), times=TIMES)
    laila.alpha_pool = last
    measure(bench, None)


def measure(bench: Bench, cold: Callable[[], None] | None) -> None:
    """Fill the alpha pool, and time its hits and misses; ``cold`` empties the tiers before the last."""
    import laila

    count = bench.size(COUNT)
    ids: list[str] = laila.memorize([laila.constant(small_bytes(number)) for number in range(count)]).wait()
    few = ids[:ONE_BY_ONE]
    strangers = [laila.constant(0).global_id for _ in range(ONE_BY_ONE)]

    def one_by_one() -> None:
        for gid in few:
            laila.remember(gid).wait()

    def miss() -> None:
        for gid in strangers:
            future = laila.remember(gid)
            assert isinstance(laila.runtime.exception(future), KeyError)

    if cold is not None:
        bench.time("hit in the first", one_by_one, per=len(few), times=TIMES)
    bench.time("hit in the last, which fills the others", one_by_one, per=len(few), before=cold, times=TIMES)
    bench.time(
        "hit in the last, 1,000 at once",
        lambda: laila.remember(ids).wait(),
        per=count,
        before=cold,
        times=TIMES,
    )
    bench.time("miss", miss, per=len(strangers), times=TIMES)
