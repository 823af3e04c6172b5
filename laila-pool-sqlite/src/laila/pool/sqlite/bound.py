"""What lets a file be a cache of bounded size: who was used when, and room for what comes.

The order is in the file, so all processes share it. A read only notes its key here; the notes are written
with the next transaction, or a thousand at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.pool.sqlite.layout import remove_number

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["LEAST_BYTES", "Bound", "largest_blob"]

LEAST_BYTES = 1 << 20
"""The smallest bound: tables and indexes take a part of it."""
_NOTES = 1000
_AT_ONCE = 64
_USE = (
    "INSERT INTO uses (entry, used) SELECT id, (SELECT coalesce(max(used), 0) + 1 FROM uses) FROM entries "
    "WHERE key = ? ON CONFLICT (entry) DO UPDATE SET used = excluded.used"
)
_OLDEST = "SELECT entry FROM uses ORDER BY used LIMIT ?"
_ADOPT = "INSERT OR IGNORE INTO uses (entry, used) SELECT id, 0 FROM entries"


def largest_blob(max_bytes: int) -> int:
    """The largest blob that fits under a bound, beside the tables and the pages that lead to it."""
    return max_bytes - max_bytes // 64 - (LEAST_BYTES >> 3)


class Bound:
    """At most ``max_bytes`` of pages in use: room is made by letting go of what was used least recently."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._used: dict[str, None] = {}  # each step on it is atomic

    def note(self, keys: Iterable[str]) -> bool:
        """Note that ``keys`` were read; return whether it is time to write that down."""
        for key in keys:
            self._used.pop(key, None)
            self._used[key] = None
        return len(self._used) >= _NOTES

    def settle(self, connection: sqlite3.Connection) -> None:
        """Write the notes down."""
        keys = list(self._used)
        for key in keys:
            self._used.pop(key, None)
            connection.execute(_USE, (key,))

    def use(self, connection: sqlite3.Connection, key: str) -> None:
        """Write down that ``key`` is what was used last."""
        connection.execute(_USE, (key,))

    def make_room(self, connection: sqlite3.Connection, nbytes: int) -> int:
        """Let go of entries until so many bytes more fit; return how many went."""
        ((page_bytes,),) = connection.execute("PRAGMA page_size")
        allowed = self.max_bytes - nbytes - nbytes // 128 - 4 * page_bytes
        gone = 0
        if _pages(connection) * page_bytes <= allowed:
            return gone
        allowed -= self.max_bytes // 64  # a little more, so that not every entry lets one go
        while _pages(connection) * page_bytes > allowed:
            oldest = connection.execute(_OLDEST, (_AT_ONCE,)).fetchall()
            # Pools without a bound write down nothing.
            if not oldest and not connection.execute(_ADOPT).rowcount:
                break
            for (number,) in oldest:
                remove_number(connection, number)
                gone += 1
                if _pages(connection) * page_bytes <= allowed:
                    break
        return gone


def _pages(connection: sqlite3.Connection) -> int:
    """How many pages are in use."""
    ((pages,),), ((free,),) = (
        connection.execute(f"PRAGMA {what}") for what in ("page_count", "freelist_count")
    )
    return int(pages - free)
