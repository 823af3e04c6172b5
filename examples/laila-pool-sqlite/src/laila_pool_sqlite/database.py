"""One SQLite file in WAL mode: its connections, its transactions, and its errors as laila's.

SQLite wants a connection to be used by one thread at a time and by no other process than the one that opened
it. So connections are lent for one transaction, made when none is free, and all closed before a fork: a child
that inherits one would believe that it holds locks which only its parent holds.

Never ``open()`` the file beside SQLite: closing it would drop the locks that this process holds on it
(POSIX locks belong to the process: https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import contextmanager
from threading import Condition, Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.parse import quote
from weakref import WeakSet

from laila.errors import PoolClosedError, PoolError, PoolFormatError, PoolLockedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Database"]

APPLICATION_ID = int.from_bytes(b"LPSQ")
"""Tells this pool's files from other SQLite files (PRAGMA application_id)."""
FORMAT_VERSION = 1
SCHEMA = f"""
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    stem TEXT,       -- of a key <stem>-<number>
    evolution TEXT,  -- the number, with the count of its digits before it: so it sorts as text
    head BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX evolutions ON entries (stem, evolution) WHERE stem IS NOT NULL;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
"""
_MOST_IDLE = 8
_WAL_KEPT = 64 * 1024 * 1024
_FORK_PATIENCE = 5.0


class Database:
    """The file at ``path``, made if it is not there, for all threads of this process.

    ``durable`` syncs every commit to the disk; ``timeout`` is how long a transaction waits for those of
    others, in seconds. Raises the errors of :class:`~laila_pool_sqlite.SQLitePool`.
    """

    def __init__(self, path: str, *, durable: bool, timeout: float, read_only: bool) -> None:
        self.path = path
        self._timeout = timeout
        self._read_only = read_only
        self._pragmas = (
            f"synchronous = {'FULL' if durable else 'NORMAL'}",
            "fullfsync = ON",  # macOS: through the drive's cache, too
            "checkpoint_fullfsync = ON",
            f"journal_size_limit = {_WAL_KEPT}",
            f"query_only = {'ON' if read_only else 'OFF'}",
        )
        self._writer = Lock()
        self._state = Condition()  # guards what follows
        self._idle: list[sqlite3.Connection] = []
        self._lent = 0
        self._forking = False
        self._stranded = False
        self._closed = False
        self._file: tuple[int, int] | None = None
        _databases.add(self)
        try:
            with self._connection() as connection:
                self._prepare(connection)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for reads, which all see the same state of the file."""
        with self._connection() as connection, _transaction(connection, "BEGIN"):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for one transaction: all of it is committed at the end, or nothing."""
        # SQLite lets waiting writers poll; those of this process queue here in place of that.
        writer = self._writer
        if not writer.acquire(timeout=self._timeout):
            raise self._locked()
        try:
            with self._connection() as connection, _transaction(connection, "BEGIN IMMEDIATE"):
                yield connection
        finally:
            writer.release()

    def close(self) -> None:
        """Close every connection; wait for calls under way, up to the timeout, to close theirs."""
        with self._state:
            self._closed = True
            self._state.wait_for(lambda: not self._lent, self._timeout)
            self._close_idle()

    # -- connections -----------------------------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._state:
            self._state.wait_for(lambda: not self._forking)
            self._check_usable()
            connection = self._idle.pop() if self._idle else None
            self._lent += 1
        keep = False
        try:
            self._check_place()
            if connection is None:
                connection = self._connect()
            yield connection
            keep = True
        except sqlite3.Error as error:
            raise self._translated(error) from error
        finally:
            with self._state:
                if connection is not None:
                    if keep and not self._closed and not self._forking and len(self._idle) < _MOST_IDLE:
                        self._idle.append(connection)
                    else:
                        connection.close()
                self._lent -= 1
                self._state.notify_all()

    def _check_usable(self) -> None:
        if self._closed:
            raise PoolClosedError(f"the pool in {self.path} was closed; open it again", pool=self.path)
        if self._stranded:
            raise PoolError(
                f"this process was forked in the midst of a call on {self.path}, which cannot be used in it "
                "now; fork while no other thread uses the pool, or start processes by 'spawn'",
                pool=self.path,
            )

    def _connect(self) -> sqlite3.Connection:
        # Only the first connection may make the file: a later one must not put an empty file in place of one
        # that was deleted.
        mode = "rwc" if self._file is None and not self._read_only else "rw"
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode={mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for pragma in self._pragmas:
                connection.execute(f"PRAGMA {pragma}")
            self._file = self._file or self._found()
        except BaseException:
            connection.close()
            raise
        return connection

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _check_place(self) -> None:
        """Refuse to go on with a file that is not at its place any more: what is written there is lost."""
        if self._file is not None and self._found() != self._file:
            raise PoolError(
                f"{self.path} was moved, deleted or replaced while the pool was open; open it again",
                pool=self.path,
                errno=errno.ESTALE,
            )

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    # -- the file --------------------------------------------------------------------------------------------

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make an empty file a pool; else make sure that it is one, without changing it."""
        if self._is_empty(connection) and not self._read_only:
            with _transaction(connection, "BEGIN IMMEDIATE"):
                if self._is_empty(connection):  # else another process was quicker
                    for statement in SCHEMA.split(";\n"):
                        connection.execute(statement)
        ((application_id,),) = connection.execute("PRAGMA application_id")
        ((version,),) = connection.execute("PRAGMA user_version")
        if application_id != APPLICATION_ID:
            raise PoolFormatError(
                f"{self.path} is another program's SQLite file; it was left as it is. Give another path",
                pool=self.path,
            )
        if version != FORMAT_VERSION:
            raise PoolFormatError(
                f"{self.path} has version {version} of the format, and this laila-pool-sqlite knows "
                f"version {FORMAT_VERSION}: upgrade it",
                pool=self.path,
            )
        if not self._read_only:
            self._use_wal(connection)

    @staticmethod
    def _is_empty(connection: sqlite3.Connection) -> bool:
        ((application_id,),) = connection.execute("PRAGMA application_id")
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
        return not application_id and not tables

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        deadline = monotonic() + self._timeout
        mode = ""
        while not mode:
            try:
                ((mode,),) = connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # SQLite does not always wait here, as when two processes make one file at a time.
                if _primary(error) != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                    raise
                sleep(0.005)
        if mode != "wal":
            raise PoolError(
                f"SQLite cannot share {self.path} there (it stays in mode {mode!r}): use a local disk",
                pool=self.path,
            )

    # -- errors ----------------------------------------------------------------------------------------------

    def _locked(self) -> PoolLockedError:
        return PoolLockedError(
            f"another thread or process writes to {self.path} for more than {self._timeout:g} s; try again, "
            "or give a longer lock_timeout",
            pool=self.path,
            errno=errno.EAGAIN,
        )

    def _translated(self, error: sqlite3.Error) -> PoolError:
        """Say in laila's terms what SQLite reports."""
        code = _primary(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._locked()
        if code == sqlite3.SQLITE_NOTADB:
            return PoolFormatError(
                f"{self.path} is no SQLite file; it was left as it is. Give another path", pool=self.path
            )
        if code == sqlite3.SQLITE_CORRUPT:
            return PoolFormatError(
                f"{self.path} is damaged ({error}): restore it from a backup, or save what is left with "
                "`sqlite3 FILE .recover`",
                pool=self.path,
            )
        number = _why_not_opened(self.path) if code == sqlite3.SQLITE_CANTOPEN else _ERRNO.get(code)
        reason = os.strerror(number) if number else "SQLite failed"
        return PoolError(
            f"cannot use {self.path}: {reason} (SQLite says: {error}){_ADVICE.get(number or 0, '')}",
            pool=self.path,
            errno=number,
        )

    # -- forks -----------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        with self._state:
            self._forking = True
            self._state.wait_for(lambda: not self._lent, _FORK_PATIENCE)
            self._close_idle()

    def _after_fork_in_parent(self) -> None:
        with self._state:
            self._forking = False
            self._state.notify_all()

    def _after_fork_in_child(self) -> None:
        # The threads that hold these locks or wait for them are the parent's.
        self._writer, self._state = Lock(), Condition()
        self._stranded = self._stranded or self._lent > 0
        self._lent = 0
        self._forking = False


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("ROLLBACK")
        raise


_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_TOOBIG: errno.EFBIG,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
_ADVICE = {
    errno.ENOSPC: "; nothing was changed: make room, then try again",
    errno.EROFS: "; open the pool without read_only, and with the right to write to file and folder",
    errno.ENOENT: "; make the folder first (or the file, for read_only)",
}


def _primary(error: sqlite3.Error) -> int:
    """SQLite's primary result code, the lowest byte of an extended one; 0 for an error of Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _why_not_opened(path: str) -> int:
    """SQLite does not tell why it cannot open a file."""
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return errno.EISDIR
    if os.path.exists(path) or (os.path.isdir(folder) and not os.access(folder, os.W_OK)):
        return errno.EACCES
    return errno.ENOENT


_databases: WeakSet[Database] = WeakSet()


def _all(what: str) -> None:
    for database in list(_databases):
        getattr(database, what)()


os.register_at_fork(
    before=lambda: _all("_before_fork"),
    after_in_parent=lambda: _all("_after_fork_in_parent"),
    after_in_child=lambda: _all("_after_fork_in_child"),
)
