"""Redis: one slice of 1 MiB out of 64 MiB, opened before; beside GETRANGE on a value of that size."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.slices import MIB, numbers, rows_of, written

FIGURES = [Figure("slice of 1 MiB", ratio=1.5)]
SERVERS = ["redis"]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = pool = laila.memory.extend(bench.servers["redis"]["url"], prefix="ours")
    count = bench.size(64)
    view, number = written(bench, count), numbers(count)
    bench.time("slice of 1 MiB", lambda: view[next(number)], times=50, warm=5)
    pool.empty()


def raw(bench: Bench) -> None:
    import redis

    count = bench.size(64)
    number = numbers(count)
    with redis.Redis.from_url(bench.servers["redis"]["url"]) as client:
        client.set("raw", rows_of(count).tobytes())

        def read() -> None:
            start = next(number) * MIB
            client.getrange("raw", start, start + MIB - 1)

        bench.time("slice of 1 MiB", read, times=50, warm=5)
        client.delete("raw")
