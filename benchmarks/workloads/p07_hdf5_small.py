"""HDF5: 1,000 entries of 1 KiB, written and read in one call each."""

from __future__ import annotations

import os

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_bytes

FIGURES = [Figure("write", ratio=0.5, per="entry"), Figure("read", ratio=0.5, per="entry")]
COUNT = 1000


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"hdf5://{bench.folder}/ours.h5")
    payloads = [small_bytes(number) for number in range(COUNT)]
    ids = laila.memorize([laila.constant(payload) for payload in payloads]).wait()
    bench.time("write", lambda: laila.memorize([laila.constant(one) for one in payloads]).wait(), per=COUNT)
    bench.time("read", lambda: [one.data for one in laila.remember(ids).wait()], per=COUNT)


def raw(bench: Bench) -> None:
    import h5py
    import numpy as np

    payloads = [np.frombuffer(small_bytes(number), "u1") for number in range(COUNT)]
    with h5py.File(bench.folder / "raw.h5", "w") as file:
        rounds = iter(range(1000))

        def write() -> None:
            group = file.create_group(str(next(rounds)))
            for number, payload in enumerate(payloads):
                group.create_dataset(str(number), data=payload)
            file.flush()
            os.fsync(file.id.get_vfd_handle())

        bench.time("write", write, per=COUNT)
        bench.time("read", lambda: [file["0"][str(n)][()].tobytes() for n in range(COUNT)], per=COUNT)
