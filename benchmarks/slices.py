"""What the workloads of slices share: an array of rows, and an order in which no row comes twice soon."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

__all__ = ["MIB", "ROWS", "numbers", "rows_of", "written"]

MIB = 1 << 20
ROWS = 256


def rows_of(count: int, nbytes: int = MIB) -> Any:
    """``count`` rows of so many bytes."""
    return np.arange(count * nbytes // 8, dtype="<f8").reshape(count, -1)


def numbers(count: int) -> Iterator[int]:
    """The numbers of the rows, over and over, each far from the one before."""
    return cycle(np.random.default_rng(1).permutation(count).tolist())


def written(bench: Bench, count: int, nbytes: int = MIB) -> Any:
    """Store such an array in the alpha pool, and give the view of it."""
    import laila

    laila.memorize(laila.constant(rows_of(count, nbytes), nickname="rows")).wait()
    return laila.open(nickname="rows")
