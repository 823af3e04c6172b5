"""Files: 10,000 random rows of 4 KiB out of 256 MiB; beside numpy's memmap of a file.

The array is opened before. Each piece is verified at its first use, which the runs that do not count do; both
sides then copy from a map of a file.
"""

from __future__ import annotations

import numpy as np

from benchmarks.bench import Bench, Figure
from benchmarks.slices import ROWS, rows_of, written

FIGURES = [Figure("10,000 rows", ratio=2)]


def _rows(count: int) -> list[int]:
    picked: list[int] = np.random.default_rng(1).integers(0, count, 10_000).tolist()
    return picked


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file://{bench.folder}/ours?durable=process")
    count = bench.size(ROWS) * 256
    view, rows = written(bench, count, 4096), _rows(count)
    bench.time("10,000 rows", lambda: view[rows])


def raw(bench: Bench) -> None:
    path, count = bench.folder / "raw", bench.size(ROWS) * 256
    array = rows_of(count, 4096)
    path.write_bytes(array.data)
    mapped, rows = np.memmap(path, array.dtype, "r", shape=array.shape), _rows(count)
    bench.time("10,000 rows", lambda: np.asarray(mapped[rows]))
