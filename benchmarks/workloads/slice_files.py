"""Files: one slice of 1 MiB out of 256 MiB, opened before; beside a pread of as many bytes.

Each call takes another slice, until all were taken: what pread reads, ours also verifies once, and copies.
"""

from __future__ import annotations

import os

from benchmarks.bench import Bench, Figure
from benchmarks.slices import MIB, ROWS, numbers, rows_of, written

FIGURES = [Figure("slice of 1 MiB", ratio=1.5)]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file://{bench.folder}/ours?durable=process")
    count = bench.size(ROWS)
    view, number = written(bench, count), numbers(count)
    bench.time("slice of 1 MiB", lambda: view[next(number)], times=100, warm=5)


def raw(bench: Bench) -> None:
    path, count = bench.folder / "raw", bench.size(ROWS)
    path.write_bytes(rows_of(count).data)
    number, file = numbers(count), os.open(path, os.O_RDONLY)
    bench.time("slice of 1 MiB", lambda: os.pread(file, MIB, next(number) * MIB), times=100, warm=5)
    os.close(file)
