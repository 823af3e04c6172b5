"""HDF5 beside diskcache: a dict of 1 KiB and an array of 64 MiB, set and got.

diskcache keeps small values in SQLite (journal in WAL mode, synchronous=NORMAL) and large ones in files
of their own, and syncs neither: what it wrote survives the process, and not a power failure. The pool
runs the same way, with ``durable="process"``: nothing is synced on either side. A thousand at once are
one transaction, and one call.

diskcache pickles and checks nothing; ours checks what it reads, and never runs code that it read. The 64
MiB that diskcache got are a copy of the caller's own, as ours.

A single call of ours is handed to a worker, since a disk may keep it waiting, and comes back as a future:
about 100 µs, many times what SQLite takes to find 1 KiB in its cache. A thousand at once share that.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import large_array, small_dict

FIGURES = [
    Figure("set a dict", ratio=6, per="entry"),
    Figure("get a dict", ratio=14, per="entry"),
    Figure("set 1,000 dicts at once", ratio=1, per="entry"),
    Figure("get 1,000 dicts at once", ratio=2, per="entry"),
    Figure("set an array of 64 MiB", ratio=2),
    Figure("get an array of 64 MiB", ratio=1.2),
]
COUNT, SINGLE = 1000, 200


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"hdf5://{bench.folder}/ours.h5?durable=process")
    count, single = bench.size(COUNT), bench.size(SINGLE)
    payloads = [small_dict(number) for number in range(count)]
    ids: list[str] = laila.memorize([laila.constant(one) for one in payloads]).wait()

    def write() -> None:
        for payload in payloads[:single]:
            laila.memorize(laila.constant(payload)).wait()

    bench.time("set a dict", write, per=single)
    bench.time("get a dict", lambda: [laila.remember(one).wait().data for one in ids[:single]], per=single)
    bench.time(
        "set 1,000 dicts at once",
        lambda: laila.memorize([laila.constant(one) for one in payloads]).wait(),
        per=count,
    )
    bench.time("get 1,000 dicts at once", lambda: [one.data for one in laila.remember(ids).wait()], per=count)
    array = large_array(64)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    bench.time(
        "set an array of 64 MiB", lambda: laila.memorize(laila.constant(array)).wait(), times=5, warm=1
    )
    bench.time("get an array of 64 MiB", lambda: laila.remember(entry).wait().data)


def raw(bench: Bench) -> None:
    from diskcache import Cache

    count, single = bench.size(COUNT), bench.size(SINGLE)
    payloads = [small_dict(number) for number in range(count)]
    # Nothing is thrown away: the limit of 1 GB at first would do that meanwhile.
    with Cache(str(bench.folder / "raw"), size_limit=2**40, eviction_policy="none") as cache:
        new = iter(range(1_000_000))

        def write(some: list[dict[str, object]]) -> None:
            for payload in some:
                cache.set(f"key {next(new)}", payload)

        def write_all() -> None:
            with cache.transact():
                write(payloads)

        def read_all() -> list[object]:
            with cache.transact():
                return [cache.get(f"key {number}") for number in range(count)]

        write_all()
        bench.time("set a dict", lambda: write(payloads[:single]), per=single)
        bench.time("get a dict", lambda: [cache.get(f"key {number}") for number in range(single)], per=single)
        bench.time("set 1,000 dicts at once", write_all, per=count)
        bench.time("get 1,000 dicts at once", read_all, per=count)
        array = large_array(64)
        cache.set("array", array)
        bench.time("set an array of 64 MiB", lambda: cache.set(f"array {next(new)}", array), times=5, warm=1)
        bench.time("get an array of 64 MiB", lambda: cache.get("array"))
