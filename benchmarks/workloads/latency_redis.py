"""Redis, 8 threads and 8 processes at one server: memorize and remember 1 KiB; beside redis-py's SET and GET.

Each caller writes one entry and reads it back, in turn. The server writes nothing to disk, for either side.
A SET overwrites; ours never does, and keeps an index: it runs a script, as P8 does.

One call at a time has nothing to share its costs with, unlike P8: an entry, a checksum, a future, a
hand-over to a worker thread. Where 8 callers keep all processors busy, the median is the processor time of
a call, times 8: so 4, and for the slowest ones, which wait for the same server, 3.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.concurrency import in_processes, in_threads
from benchmarks.payloads import small_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.concurrency import Operations

SERVERS = ["redis"]
FIGURES = [
    Figure("8 threads, memorize", ratio=4, p99=3, latency=True),
    Figure("8 threads, remember", ratio=4, p99=3, latency=True),
    Figure("8 processes, memorize", ratio=4, p99=3, latency=True),
    Figure("8 processes, remember", ratio=4, p99=3, latency=True),
]
CALLS = 500


@contextmanager
def pool(place: str) -> Iterator[Operations]:
    import laila

    laila.alpha_pool = laila.memory.extend(place, prefix="ours")
    payload = small_bytes(0)
    ids: dict[int, str] = {}

    def memorize(number: int) -> None:
        ids[number] = laila.memorize(laila.constant(payload)).wait()

    yield {"memorize": memorize, "remember": lambda number: laila.remember(ids[number]).wait().data}
    laila.forget(list(ids.values())).wait()
    laila.terminate()


@contextmanager
def client(place: str) -> Iterator[Operations]:
    import redis

    payload = small_bytes(0)
    with redis.Redis.from_url(place) as client:
        yield {
            "memorize": lambda number: client.set(f"raw/{number:036d}", payload),
            "remember": lambda number: client.get(f"raw/{number:036d}"),
        }


def ours(bench: Bench) -> None:
    url = bench.servers["redis"]["url"]
    in_threads(bench, pool, url, CALLS)
    in_processes(bench, pool, url, CALLS)


def raw(bench: Bench) -> None:
    url = bench.servers["redis"]["url"]
    in_threads(bench, client, url, CALLS)
    in_processes(bench, client, url, CALLS)
    import redis

    with redis.Redis.from_url(url) as one:
        one.delete(*one.scan_iter(match="raw/*", count=10_000))
