"""HDF5: one slice of 1 MiB out of 256 MiB, opened before; beside h5py's own slicing of a dataset.

Each call takes another slice, which ours also verifies.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.slices import ROWS, numbers, rows_of, written

FIGURES = [Figure("slice of 1 MiB", ratio=1.5)]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"hdf5://{bench.folder}/ours.h5")
    count = bench.size(ROWS)
    view, number = written(bench, count), numbers(count)
    bench.time("slice of 1 MiB", lambda: view[next(number)], times=100, warm=5)


def raw(bench: Bench) -> None:
    import h5py

    count = bench.size(ROWS)
    with h5py.File(bench.folder / "raw.h5", "w") as file:
        data, number = file.create_dataset("rows", data=rows_of(count)), numbers(count)
        file.flush()
        bench.time("slice of 1 MiB", lambda: data[next(number)], times=100, warm=5)
