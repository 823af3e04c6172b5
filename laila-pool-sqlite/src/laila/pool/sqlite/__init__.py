"""A laila pool in one SQLite file, shared by the threads and processes of one host."""

from __future__ import annotations

from laila.pool.sqlite.pool import SQLitePool
from laila.pool.sqlite.settings import SQLiteSettings

__all__ = ["SQLitePool", "SQLiteSettings"]
