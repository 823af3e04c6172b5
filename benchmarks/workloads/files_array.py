"""Files: an array of 64 MiB, beside a plain file that is written, synced (and its folder) and read."""

from __future__ import annotations

import os

from benchmarks.bench import Bench, Figure, sync
from benchmarks.payloads import large_array

FIGURES = [Figure("write", ratio=1.6), Figure("read", ratio=1.5), Figure("read, copy=False", ratio=0.7)]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file://{bench.folder}/ours")
    array = large_array(64)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    bench.time("write", lambda: laila.memorize(laila.constant(array)).wait(), times=5, warm=1)
    bench.time("read", lambda: laila.remember(entry).wait().data)
    bench.time("read, copy=False", lambda: laila.remember(entry, copy=False).wait().data)


def raw(bench: Bench) -> None:
    import numpy as np

    array = large_array(64)
    count = iter(range(1000))

    def write() -> None:
        with open(bench.folder / str(next(count)), "wb", buffering=0) as file:
            file.write(array.data)
            os.fsync(file.fileno())
        sync(bench.folder)

    bench.time("write", write, times=5, warm=1)
    for figure in ("read", "read, copy=False"):
        bench.time(figure, lambda: np.fromfile(bench.folder / "0"))
