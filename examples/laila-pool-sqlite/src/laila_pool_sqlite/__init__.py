"""A laila pool in one SQLite file: ``laila.memory.extend("sqlite:///data/results.db")``."""

from laila_pool_sqlite.pool import SQLitePool, SQLiteSettings

__all__ = ["SQLitePool", "SQLiteSettings"]
