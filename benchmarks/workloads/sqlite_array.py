"""SQLite: an array of 64 MiB, written and read; beside sqlite3 with a row of 64 MiB."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import large_array

FIGURES = [Figure("write"), Figure("read")]


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"sqlite://{bench.folder}/ours.db")
    array = large_array(64)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    bench.time("write", lambda: laila.memorize(laila.constant(array)).wait(), times=5, warm=1)
    bench.time("read", lambda: laila.remember(entry).wait().data)


def raw(bench: Bench) -> None:
    import sqlite3

    import numpy as np

    array = large_array(64)
    file = sqlite3.connect(bench.folder / "raw.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, data BLOB)",
    ):
        file.execute(statement)
    insert, query = "INSERT INTO entries (data) VALUES (?)", "SELECT data FROM entries WHERE id = 1"
    bench.time("write", lambda: file.execute(insert, (array.data,)), times=5, warm=1)
    bench.time("read", lambda: np.frombuffer(bytearray(file.execute(query).fetchone()[0]), array.dtype))
    file.close()
