"""Growth: a million small entries in memory, in HDF5 and in Redis, as in ``growth``. Takes minutes."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.growth import figures, grow_all

LONG = True
SERVERS = ["redis"]
ROUNDS = 1
SIZES = [("memory", 1_000_000), ("HDF5", 1_000_000), ("Redis", 1_000_000)]
FIGURES = [figure for size in SIZES for figure in figures(*size)]


def ours(bench: Bench) -> None:
    grow_all(bench, SIZES)
