"""A manifest of 2,000 leaves in HDF5 and in S3; beside the calls of P7 and P10 with as many entries.

Ours makes the manifest, memorizes it, and remembers it by its id: the manifest, then its leaves. Beside it
the same entries are memorized and remembered in one call each, in the same pool: what a manifest costs is
the rest. In HDF5 its tree is in the commit of its entries; in S3 it is an object that is put after them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.manifests import as_batch, as_manifest
from benchmarks.servers import s3_pool

if TYPE_CHECKING:
    from collections.abc import Callable

SERVERS = ["s3"]
ROUNDS = 3
FIGURES = [
    Figure(
        "HDF5, memorize",
        ratio=1.2,
        known=1.3,
        why="making the manifest, and looking what of it is new: the commit is that of the batch",
        per="leaf",
    ),
    Figure("HDF5, remember", ratio=1.2, per="leaf"),
    Figure("S3, memorize", ratio=1.2, per="leaf"),
    Figure("S3, remember", ratio=1.2, per="leaf"),
]
COUNT = 2000
HDF5_SIZE, S3_SIZE = 1024, 64 * 1024  # those of P7 and P10


def ours(bench: Bench) -> None:
    both(bench, as_manifest)


def raw(bench: Bench) -> None:
    both(bench, as_batch)


def both(bench: Bench, measure: Callable[[Bench, str, int, int, int, int], None]) -> None:
    import laila

    count = bench.size(COUNT)
    laila.alpha_pool = laila.memory.extend(f"hdf5://{bench.folder}/pool.h5")
    measure(bench, "HDF5, ", count, HDF5_SIZE, 5, 2)
    pool = s3_pool(bench.servers["s3"])
    laila.alpha_pool = laila.memory.extend(pool)
    measure(bench, "S3, ", count, S3_SIZE, 2, 1)
    pool.empty()
