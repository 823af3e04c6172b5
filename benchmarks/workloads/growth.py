"""Growth: 100,000 small entries in memory, in HDF5 and in Redis, written 1,000 at a time.

The time for an entry stays what it was, listing streams, and an HDF5 file opens in a time that its entries
say: 10,000 of them are beside.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.growth import figures, grow_all

SERVERS = ["redis"]
ROUNDS = 3
SIZES = [("memory", 100_000), ("HDF5", 10_000), ("HDF5", 100_000), ("Redis", 100_000)]
FIGURES = [figure for size in SIZES for figure in figures(*size)]


def ours(bench: Bench) -> None:
    grow_all(bench, SIZES)
