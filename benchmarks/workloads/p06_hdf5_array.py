"""HDF5: an array of 64 MiB, written and read, flushed and synced alike."""

from __future__ import annotations

import os

from benchmarks.bench import FRESH_MEMORY, Bench, Figure
from benchmarks.payloads import large_array

FIGURES = [
    Figure("write", ratio=1.5, known=1.7, why=FRESH_MEMORY),
    Figure(
        "read",
        ratio=1.3,
        known=1.8,
        why="it is h5py's copy, and a checksum of each piece of it: bound by memory",
    ),
]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"hdf5://{bench.folder}/ours.h5")
    array = large_array(64)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    bench.time("write", lambda: laila.memorize(laila.constant(array)).wait(), times=5, warm=1)
    bench.time("read", lambda: laila.remember(entry).wait().data)


def raw(bench: Bench) -> None:
    import h5py

    array = large_array(64)
    with h5py.File(bench.folder / "raw.h5", "w") as file:
        count = iter(range(1000))

        def write() -> None:
            file.create_dataset(str(next(count)), data=array)
            file.flush()
            os.fsync(file.id.get_vfd_handle())

        bench.time("write", write, times=5, warm=1)
        bench.time("read", lambda: file["0"][()])
