"""SQLite: one slice of 1 MiB out of 256 MiB, opened before; beside sqlite3's own reads within a row.

Each call takes another slice, which ours also verifies.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.slices import ROWS, numbers, rows_of, written

FIGURES = [Figure("slice of 1 MiB", ratio=1.5)]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"sqlite://{bench.folder}/ours.db")
    count = bench.size(ROWS)
    view, number = written(bench, count), numbers(count)
    bench.time("slice of 1 MiB", lambda: view[next(number)], times=100, warm=5)


def raw(bench: Bench) -> None:
    import sqlite3

    count = bench.size(ROWS)
    rows = rows_of(count)
    row_bytes = rows[0].nbytes
    file = sqlite3.connect(bench.folder / "raw.db", isolation_level=None)
    file.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, data BLOB)")
    file.execute("INSERT INTO entries (data) VALUES (?)", (rows.data,))
    number = numbers(count)

    def read() -> object:
        start = next(number) * row_bytes
        with file.blobopen("entries", "data", 1, readonly=True) as blob:
            return blob[start : start + row_bytes]

    bench.time("slice of 1 MiB", read, times=100, warm=5)
    file.close()
