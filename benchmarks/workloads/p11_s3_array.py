"""S3: a float64 array of 32 MiB, written and read; obstore puts and gets its bytes."""

from __future__ import annotations

import uuid
from typing import Any

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import large_array
from benchmarks.servers import s3_pool, s3_store

SERVERS = ("s3",)
FIGURES = [Figure("write", ratio=1.25), Figure("read", ratio=1.25)]


def ours(bench: Bench) -> None:
    import laila

    pool = s3_pool(bench.servers["s3"])
    laila.alpha_pool = laila.memory.extend(pool)
    array = large_array(32)
    entries: list[Any] = []

    def make() -> None:
        if entries:
            laila.forget(entries.pop()).wait()
        entries.append(laila.constant(array))

    bench.time("write", lambda: laila.memorize(entries[0]).wait(), before=make)
    bench.time("read", lambda: laila.remember(entries[0].global_id).wait().data)
    assert (laila.remember(entries[0].global_id).wait().data == array).all()


def raw(bench: Bench) -> None:
    store = s3_store(bench.servers["s3"])
    array = large_array(32).view("u1").data
    name = uuid.uuid4().hex
    bench.time("write", lambda: store.put(name, array), before=lambda: store.delete(name))
    bench.time("read", lambda: store.get(name).bytes())
