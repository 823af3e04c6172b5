"""SQLite: 1,000 entries of 1 KiB, written and read in one call each; beside sqlite3 in one transaction."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_bytes

FIGURES = [Figure("write", per="entry"), Figure("read", per="entry")]
COUNT = 1000


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"sqlite://{bench.folder}/ours.db")
    payloads = [small_bytes(number) for number in range(COUNT)]
    ids = laila.memorize([laila.constant(payload) for payload in payloads]).wait()
    bench.time("write", lambda: laila.memorize([laila.constant(one) for one in payloads]).wait(), per=COUNT)
    bench.time("read", lambda: [one.data for one in laila.remember(ids).wait()], per=COUNT)


def raw(bench: Bench) -> None:
    import sqlite3
    from uuid import uuid4

    payloads = [small_bytes(number) for number in range(COUNT)]
    file = sqlite3.connect(bench.folder / "raw.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE entries (key TEXT PRIMARY KEY, data BLOB)",
    ):
        file.execute(statement)
    keys: list[str] = []

    def write() -> None:
        keys[:] = [str(uuid4()) for _ in payloads]
        file.execute("BEGIN IMMEDIATE")
        file.executemany("INSERT INTO entries VALUES (?, ?)", zip(keys, payloads, strict=True))
        file.execute("COMMIT")

    bench.time("write", write, per=COUNT)
    query = "SELECT data FROM entries WHERE key = ?"
    bench.time("read", lambda: [file.execute(query, (key,)).fetchone()[0] for key in keys], per=COUNT)
    file.close()
