"""Redis: an array of 16 MiB; SET and GET of its bytes."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import large_array

FIGURES = [
    Figure("write", ratio=1.5),
    Figure(
        "read",
        ratio=1.3,
        known=1.7,
        why="the reply is bytes, which nobody may write to: the array is a copy of it, verified",
    ),
]
SERVERS = ["redis"]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = pool = laila.memory.extend(bench.servers["redis"]["url"], prefix="ours")
    array = large_array(16)
    bench.time("write", lambda: laila.memorize(laila.constant(array)).wait(), before=pool.empty)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    bench.time("read", lambda: laila.remember(entry).wait().data)
    pool.empty()


def raw(bench: Bench) -> None:
    import redis

    data = large_array(16).tobytes()
    with redis.Redis.from_url(bench.servers["redis"]["url"]) as client:
        bench.time("write", lambda: client.set("raw", data), before=lambda: client.delete("raw"))
        bench.time("read", lambda: client.get("raw"))
        client.delete("raw")
