"""Tables of leases: the interface that a pool fills, and two tables for pools that need no own.

A table has a record for each key that is lent, or was lent lately. It is no part of the entries of a pool.
"""

from __future__ import annotations

import os
import stat
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from errno import EROFS

from laila.errors import LeaseLostError, PoolError, PoolLockedError
from laila.forks import Renewed
from laila.leasing.records import boot_time, host_clock, parse_record
from laila.locks import mutex
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from sqlite3 import Connection

    Change = tuple[str, bytes | None, bytes]

__all__ = ["KEPT_SECONDS", "LeaseFile", "LeaseTable", "MemoryLeases", "check_tokens"]

KEPT_SECONDS = 7 * 86400
"""How long a table keeps a record that nobody renews. The number of a lease counts on from it."""
_MOST_FREE = 10_000


class LeaseTable(ABC):
    """Where the records of leases are. A pool that lends gives one. Thread-safe; calls may block."""

    longest_pause: float = 0.05
    """The longest time between two looks of a borrower that waits, in seconds."""

    @abstractmethod
    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the record of each key, or None.

        Args:
            keys: The keys.

        Returns:
            One record or None for each key.
        """

    @abstractmethod
    def swap(self, changes: Sequence[tuple[str, bytes | None, bytes]]) -> list[bool]:
        """Replace each record that is still as it was read; the comparison and the change are one step.

        Args:
            changes: For each key the record that was read (None: there was no record) and the new one. No key
                comes twice.

        Returns:
            For each change whether it was made.
        """

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys that have a record.

        Returns:
            The keys, in any order.
        """

    def now(self) -> tuple[str, float]:
        """Return the name of the clock that all users of the table can read, and its time in seconds.

        The default is the clock of this host since it was started. Users on another host do not have this
        clock. They watch a record instead.

        Returns:
            The name and the time.
        """
        return host_clock(), boot_time()


def check_tokens(table: LeaseTable, tokens: Mapping[str, bytes]) -> None:
    """Raise :class:`LeaseLostError` unless each key is lent under its token.

    A lease that is over, and that nobody else has taken, counts as lent: its holder looks at the clock.

    Args:
        table: The table.
        tokens: The token of each key.
    """
    for (key, token), data in zip(tokens.items(), table.read(list(tokens)), strict=True):
        record = parse_record(data)
        if record is None or record.token != token:
            raise LeaseLostError(
                f"the lease of {key} is over, and another borrower has had it since: nothing was written. "
                "Borrow the entry again, and repeat the work",
                key=key,
            )


class MemoryLeases(LeaseTable):
    """A table in the memory of this process."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}
        _tables.add(self)

    def _clear(self) -> None:
        """Begin anew in a forked child: its memory is its own."""
        self._records.clear()

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the record of each key, or None."""
        with mutex:
            return [self._records.get(key) for key in keys]

    def swap(self, changes: Sequence[tuple[str, bytes | None, bytes]]) -> list[bool]:
        """Replace each record that is still as it was read."""
        with mutex:
            answers = [self._records.get(key) == old for key, old, _ in changes]
            for (key, _, new), right in zip(changes, answers, strict=True):
                if right:
                    self._records.pop(key, None)
                    self._records[key] = new
            if len(self._records) > _MOST_FREE:
                self._weed()
            return answers

    def _weed(self) -> None:
        """Drop the oldest records of leases that were given back."""
        for key, data in list(self._records.items())[: _MOST_FREE // 2]:
            record = parse_record(data)
            if record is not None and record.free:
                del self._records[key]

    def keys(self) -> list[str]:
        """Return the keys that have a record."""
        with mutex:
            return list(self._records)

    @contextmanager
    def held(self, tokens: Mapping[str, bytes]) -> Iterator[None]:
        """Let nobody change the table for the body, which must be short. Raises :class:`LeaseLostError`.

        Args:
            tokens: The token of each key: they must be lent so.
        """
        with mutex:
            check_tokens(self, tokens)
            yield


_tables: Renewed[MemoryLeases] = Renewed(MemoryLeases._clear)


class LeaseFile(LeaseTable):
    """A table in a file, for the processes of one host: an SQLite database beside what the pool stores.

    The file is made when something is lent for the first time. No connection is kept, so that a fork does no
    harm, and a process that dies leaves no lock.
    """

    def __init__(
        self, path: str, *, like: str | None = None, read_only: bool = False, timeout: float = 10.0
    ) -> None:
        """Name the file; nothing is opened.

        Args:
            path: The file.
            like: A file or folder; a new file is as open to others as it is. None for the owner alone.
            read_only: Whether the file may only be read.
            timeout: Seconds to wait for another process that is at the file.
        """
        self._path = path
        self._like = like
        self._read_only = read_only
        self._timeout = timeout

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the record of each key, or None."""
        if not os.path.lexists(self._path):
            return [None] * len(keys)
        with self._open() as database:
            return _read(database, keys)

    def swap(self, changes: Sequence[tuple[str, bytes | None, bytes]]) -> list[bool]:
        """Replace each record that is still as it was read."""
        with self._open(write=True) as database:
            records = _read(database, [key for key, _, _ in changes])
            answers = [record == old for record, (_, old, _) in zip(records, changes, strict=True)]
            now = time.time()
            rows = [(key, new, now) for (key, _, new), right in zip(changes, answers, strict=True) if right]
            database.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", rows)
            # Rows of the future: the clock was set back since.
            database.execute(
                "DELETE FROM leases WHERE changed < ? OR changed > ?",
                (now - KEPT_SECONDS, now + KEPT_SECONDS),
            )
            return answers

    def keys(self) -> list[str]:
        """Return the keys that have a record."""
        if not os.path.lexists(self._path):
            return []
        with self._open() as database:
            rows = database.execute("SELECT key FROM leases").fetchall()
        return [key for (key,) in rows if isinstance(key, str)]

    @contextmanager
    def held(self, tokens: Mapping[str, bytes]) -> Iterator[None]:
        """Let no process change the table for the body.

        Args:
            tokens: The token of each key: they must be lent so.

        Yields:
            Nothing.

        Raises:
            LeaseLostError: A key is lent to another borrower, or to nobody.
            PoolError: The file cannot be used.
        """
        with self._open(write=True) as database:
            check_tokens(_Reader(database), tokens)
            yield

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[Connection]:
        import sqlite3

        if write:
            self._make()
        try:
            database = sqlite3.connect(
                f"file:{_quoted(self._path)}?mode={'rw' if write else 'ro'}",
                uri=True,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        try:
            try:
                database.execute("PRAGMA trusted_schema = OFF")
                # A crash of the machine ends all leases of its processes.
                database.execute("PRAGMA synchronous = OFF")
                if write:
                    database.execute("BEGIN IMMEDIATE")
                    database.execute(
                        "CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, record BLOB, changed REAL)"
                    )
                yield database
                if write:
                    database.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed(error) from error
        finally:
            with suppress(sqlite3.Error):
                database.close()  # an open transaction is taken back

    def _make(self) -> None:
        if self._read_only:
            raise PoolError(
                f"the pool of {self._path} was opened with read_only=True, and lends nothing",
                pool=self._path,
                errno=EROFS,
            )
        try:
            mode = 0o600 if self._like is None else os.stat(self._like).st_mode & 0o666
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(self._path, flags, mode)
            try:
                regular = stat.S_ISREG(os.fstat(fd).st_mode)
            finally:
                os.close(fd)
        except OSError as error:
            raise PoolError(
                f"cannot open {self._path}, which says what is lent: {said(error)}",
                pool=self._path,
                errno=error.errno,
            ) from error
        if not regular:
            raise PoolError(f"{self._path} is no regular file: delete it", pool=self._path)

    def _failed(self, error: Exception) -> PoolError:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return PoolLockedError(
                f"another process is at {self._path}, which says what is lent, for {self._timeout:g} "
                "seconds; it may be stopped in the middle of a write. Let it go on, or end it",
                pool=self._path,
            )
        return PoolError(
            f"{self._path}, which says what is lent, cannot be used: {said(error)}. When nobody borrows, it "
            "may be deleted",
            pool=self._path,
        )


class _Reader(MemoryLeases):
    """The records of an open database, as :func:`check_tokens` asks for them."""

    def __init__(self, database: Connection) -> None:
        super().__init__()
        self._database = database

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        return _read(self._database, keys)


def _read(database: Connection, keys: Sequence[str]) -> list[bytes | None]:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'leases'").fetchone():
        return [None] * len(keys)
    records = []
    for key in keys:
        row = database.execute("SELECT record FROM leases WHERE key = ?", (key,)).fetchone()
        record = None if row is None else row[0]
        records.append(record.encode() if isinstance(record, str) else record)
    return [None if record is None else bytes(record) for record in records]


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(os.path.abspath(path))
