"""The contract that every laila pool is held to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from laila.contract import Pool
from laila.pool.sqlite import SQLitePool
from laila.testing import PoolConformance


class TestSQLitePool(PoolConformance):
    """A file on a local disk."""

    @pytest.fixture
    def open_pool(self, tmp_path: Path) -> Callable[..., Pool]:
        return lambda **options: SQLitePool(tmp_path / "pool.db", **options)

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite://{tmp_path}/pool.db"

    @pytest.fixture
    def damage(self, tmp_path: Path) -> Callable[[str], None]:
        def change_a_byte(key: str) -> None:
            with closing(sqlite3.connect(tmp_path / "pool.db")) as file, file:
                ((number, head, body),) = file.execute(
                    "SELECT id, head, body FROM entries WHERE key = ?", (key,)
                )
                if body is None:
                    place = "chunks SET data = ? WHERE id = ?"
                    query = "SELECT id, data FROM chunks WHERE id >> 20 = ? ORDER BY id DESC LIMIT 1"
                    ((number, old),) = file.execute(query, (number,))
                else:
                    place, old = f"entries SET {'body' if body else 'head'} = ? WHERE id = ?", body or head
                changed = bytearray(old)
                changed[-1] ^= 1
                file.execute(f"UPDATE {place}", (changed, number))

        return change_a_byte

    @pytest.fixture
    def outage(self, tmp_path: Path) -> Callable[[], AbstractContextManager[object]]:
        @contextmanager
        def without_the_file() -> Iterator[None]:
            file = tmp_path / "pool.db"
            aside = file.rename(tmp_path / "aside.db")
            yield
            aside.rename(file)

        return without_the_file
