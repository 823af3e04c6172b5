"""Redis: 1,000 entries of 1 KiB in one call; a pipeline of SET, and MGET.

``pip install redis`` brings a parser in Python, which is the raw side here. hiredis is a parser in
C: beside it a bare MGET takes little more than a microsecond a value, and what is left is what laila does for
an entry and MGET does not: two checksums, the header, the object. The second figure of reading says so.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_bytes

FIGURES = [
    Figure("write", ratio=1.8, per="entry"),
    Figure(
        "read",
        ratio=2.2,
        known=3.2,
        why="of 6.5 µs the MGET is 1.3; two checksums and the header are 2.5, the entry is 1.3",
        per="entry",
    ),
    Figure("read, beside hiredis", ratio=7, per="entry"),
]
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
    for figure in ("read", "read, beside hiredis"):
        bench.time(figure, lambda: [one.data for one in laila.remember(ids).wait()], per=COUNT)
    pool.empty()


def raw(bench: Bench) -> None:
    import redis
    from redis._parsers import _RESP2Parser

    payloads = [small_bytes(number) for number in range(COUNT)]
    names = [f"raw/e/LAILA:ENTRY:GLOBAL_ID:{number:036d}" for number in range(COUNT)]
    url = bench.servers["redis"]["url"]
    with redis.Redis.from_url(url, parser_class=_RESP2Parser) as client:

        def write() -> None:
            pipeline = client.pipeline(transaction=False)
            for name, payload in zip(names, payloads, strict=True):
                pipeline.set(name, payload)
            pipeline.execute()

        bench.time("write", write, per=COUNT, before=lambda: client.delete(*names))
        bench.time("read", lambda: client.mget(names), per=COUNT)
    with redis.Redis.from_url(url) as client:
        bench.time("read, beside hiredis", lambda: client.mget(names), per=COUNT)
        client.delete(*names)
