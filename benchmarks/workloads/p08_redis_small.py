"""Redis: 1,000 entries of 1 KiB in one call; a pipeline of SET, and MGET."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_bytes

FIGURES = [Figure("write", ratio=1.8, per="entry"), Figure("read", ratio=2.2, per="entry")]
SERVERS = ["redis"]
COUNT = 1000


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = pool = laila.memory.extend(bench.servers["redis"]["url"], prefix="ours")
    payloads = [small_bytes(number) for number in range(COUNT)]

    def write() -> list[str]:
        ids: list[str] = laila.memorize([laila.constant(one) for one in payloads]).wait()
        return ids

    bench.time("write", write, per=COUNT, before=pool.empty)
    ids = write()
    bench.time("read", lambda: [one.data for one in laila.remember(ids).wait()], per=COUNT)
    pool.empty()


def raw(bench: Bench) -> None:
    import redis

    payloads = [small_bytes(number) for number in range(COUNT)]
    names = [f"raw/e/LAILA:ENTRY:GLOBAL_ID:{number:036d}" for number in range(COUNT)]
    with redis.Redis.from_url(bench.servers["redis"]["url"]) as client:

        def write() -> None:
            pipeline = client.pipeline(transaction=False)
            for name, payload in zip(names, payloads, strict=True):
                pipeline.set(name, payload)
            pipeline.execute()

        bench.time("write", write, per=COUNT, before=lambda: client.delete(*names))
        bench.time("read", lambda: client.mget(names), per=COUNT)
        client.delete(*names)
