"""FilesystemPool beside plain files that are written, synced and read by hand.

    python benchmarks/files.py [FOLDER]

Each row runs in turn with its counterpart; medians, and the median of the ratios. Only ratios count.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import laila
from laila.pool.files import FilesystemPool

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
SMALL = [f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{number:012x}" for number in range(1000)]


def compare(what: str, ours: Callable[[int], object], raw: Callable[[int], object]) -> None:
    """Print the medians in ms, and of the ratios."""
    times: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        pair = []
        for run in (ours, raw) if number % 2 else (raw, ours):
            os.sync()
            start = time.perf_counter()
            kept = run(number)
            pair.append(time.perf_counter() - start)
            del kept
        times.append((pair[0], pair[1]) if number % 2 else (pair[1], pair[0]))
    mine, plain = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    ratios = sorted(a / b for a, b in times)
    middle = statistics.median(ratios)
    print(f"{what:34} {mine:9.2f} {plain:9.2f} {middle:7.2f}   ({ratios[0]:.2f}–{ratios[-1]:.2f})")


def write_plain(path: Path, data: object) -> None:
    """Beside, synced and renamed, as a careful program does it; but without syncing the folder."""
    beside = path.with_name("new")
    with beside.open("wb", buffering=0) as file:
        file.write(data)  # type: ignore[arg-type]
        os.fsync(file.fileno())
    beside.replace(path)


def main(folder: Path) -> None:
    plain = folder / "plain"
    plain.mkdir()
    laila.alpha_pool = pool = FilesystemPool(folder / "pool")
    array = np.random.default_rng(1).normal(size=(1024, 8192))
    small = [{"text": "x" * 1000} for _ in SMALL]
    contents = [os.urandom(1024) for _ in SMALL]
    print(f"{'':34} {'laila ms':>9} {'raw ms':>9} {'ratio':>7}")

    def entries(number: int) -> list[laila.Entry]:
        return [
            laila.constant(one, nickname=f"{number} {key}") for one, key in zip(small, SMALL, strict=True)
        ]

    compare(
        "write a float64 array of 64 MiB",
        lambda _: laila.memorize(laila.constant(array, nickname="array"), overwrite=True).wait(),
        lambda _: write_plain(plain / "array", array),
    )
    compare(
        "read it, a copy of one's own",
        lambda _: laila.remember(nickname="array", scope="ENTRY").data,
        lambda _: np.fromfile(plain / "array"),
    )
    compare(
        "read it with copy=False",
        lambda _: laila.remember(nickname="array", scope="ENTRY", copy=False).data,
        lambda _: np.fromfile(plain / "array"),
    )
    batches = [entries(number) for number in range(ROUNDS)]
    compare(
        "write 1,000 of 1 KiB in one call",
        lambda number: laila.memorize(batches[number]).wait(),
        lambda number: [
            write_plain(plain / f"{number}-{key}", content)
            for key, content in zip(SMALL, contents, strict=True)
        ],
    )
    ids = [[entry.global_id for entry in batch] for batch in batches]
    compare(
        "read them",
        lambda number: laila.remember(ids[number]).data,
        lambda number: [(plain / f"{number}-{key}").read_bytes() for key in SMALL],
    )
    compare(
        "write one of 1 KiB",
        lambda number: laila.memorize(laila.constant(small[0], nickname=f"one {number}")).wait(),
        lambda number: write_plain(plain / f"one {number}", contents[0]),
    )
    compare(
        "list 9,000 keys",
        lambda _: list(pool.keys()),
        lambda _: os.listdir(plain),
    )


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    try:
        main(place)
    finally:
        laila.terminate()
        shutil.rmtree(place)
