"""S3: one slice of 1 MiB out of 64 MiB, opened before; beside get_range of obstore on as large an object."""

from __future__ import annotations

import uuid

from benchmarks.bench import Bench, Figure
from benchmarks.servers import s3_pool, s3_store
from benchmarks.slices import MIB, numbers, rows_of, written

FIGURES = [Figure("slice of 1 MiB", ratio=1.5)]
SERVERS = ("s3",)


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(s3_pool(bench.servers["s3"]))
    count = bench.size(64)
    view, number = written(bench, count), numbers(count)
    bench.time("slice of 1 MiB", lambda: view[next(number)], times=50, warm=5)
    laila.forget(nickname="rows").wait()


def raw(bench: Bench) -> None:
    store, name, count = s3_store(bench.servers["s3"]), uuid.uuid4().hex, bench.size(64)
    number = numbers(count)
    store.put(name, rows_of(count).tobytes())
    bench.time(
        "slice of 1 MiB",
        lambda: store.get_range(name, start=next(number) * MIB, length=MIB),
        times=50,
        warm=5,
    )
    store.delete(name)
