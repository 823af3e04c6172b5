"""``dest <= src``: 8 GiB in arrays of 4 MiB from one HDF5 file to another; beside h5py, dataset by dataset.

Both sides read from the page cache as far as it holds the file, and flush and sync after each 16 MiB. The
pool of the source is opened anew, so that nothing is left in it of the writing. Takes minutes, and 16 GiB
of disk, which are given back.

Memory: the copy holds about 24 MiB of blobs at a time, and a map of what it reads. A map's pages count as
resident while they are in use; the file as a whole must not.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.memory import peak, start_peak

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

LONG = True
ROUNDS = 1
FIGURES = [
    Figure("copy", ratio=1.5, per="GiB"),
    Figure("peak memory", at_most=128, unit="MiB"),
]
COUNT, NUMBERS = 2048, 512 * 1024  # of 8 bytes
SYNC = 4  # arrays


def array(number: int) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.full(NUMBERS, number, "f8")


def check_space(folder: Path, count: int) -> None:
    need = count * NUMBERS * 8 * 2 + 2**30
    free = shutil.disk_usage(folder).free
    if free < need:
        raise SystemExit(f"{folder} has {free / 2**30:.1f} GiB free, and {need / 2**30:.1f} are needed")


def ours(bench: Bench) -> None:
    import laila
    from laila.pool.hdf5 import HDF5Pool

    count = bench.size(COUNT)
    check_space(bench.folder, count)
    with HDF5Pool(bench.folder / "source.h5") as pool:
        laila.alpha_pool = laila.memory.extend(pool)
        for start in range(0, count, SYNC):
            some = range(start, min(start + SYNC, count))
            laila.memorize([laila.constant(array(number)) for number in some]).wait()
    with HDF5Pool(bench.folder / "source.h5") as source, HDF5Pool(bench.folder / "dest.h5") as dest:
        before = start_peak()

        def copy() -> None:
            (dest <= source).wait()

        bench.time("copy", copy, times=1, warm=0, per=count * NUMBERS * 8 / 2**30)
        bench.note("peak memory", peak() - before)
        assert sum(1 for _ in dest.keys(as_generator=True)) == count


def raw(bench: Bench) -> None:
    import h5py

    count = bench.size(COUNT)
    check_space(bench.folder, count)
    with h5py.File(bench.folder / "source.h5", "w") as file:
        for number in range(count):
            file.create_dataset(str(number), data=array(number))
    with h5py.File(bench.folder / "source.h5") as source, h5py.File(bench.folder / "dest.h5", "w") as dest:

        def copy() -> None:
            for done, name in enumerate(source, 1):
                dest.create_dataset(name, data=source[name][()])
                if done % SYNC == 0 or done == count:
                    dest.flush()
                    os.fsync(dest.id.get_vfd_handle())

        before = start_peak()
        bench.time("copy", copy, times=1, warm=0, per=count * NUMBERS * 8 / 2**30)
        bench.note("peak memory", peak() - before)
