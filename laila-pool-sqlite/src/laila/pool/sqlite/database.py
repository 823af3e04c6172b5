"""The connections to one SQLite file, their transactions, and what a fork does with them.

SQLite wants a connection to be used by one thread at a time, and by no other process than the one that opened
it. So a connection is lent for one transaction, and made when none is free. All of them are closed before a
fork: a child that inherits one would believe that it holds locks which only its parent holds.

Nothing here waits inside SQLite for longer than a moment, so that Ctrl-C ends a wait.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from _thread import get_ident
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.parse import quote

from laila.contract import Renewed, locks, logger
from laila.errors import LailaError, PoolClosedError, PoolError
from laila.pool.sqlite.layout import APPLICATION_ID, FORMAT_VERSION, LONGEST_ROW, SCHEMA, check_tables
from laila.pool.sqlite.place import is_remote, look, make
from laila.pool.sqlite.reporting import is_busy, locked, moved, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Database"]

_log = logger(__name__)

_MOST_IDLE = 8
_LOG_KEPT = 64 << 20
_MOMENT = 0.25  # seconds that SQLite waits by itself
_FORK_PATIENCE = 5.0


class Database:
    """The file at ``path``, made if it is not there, for all threads of this process.

    ``durable`` syncs every commit to the disk. ``timeout`` is how long a transaction waits for those of
    others, in seconds. Raises the errors of :class:`~laila.pool.sqlite.SQLitePool`.
    """

    def __init__(self, path: str, *, durable: bool, timeout: float, read_only: bool) -> None:
        self.path = os.path.realpath(path)
        self.journal = ""
        self._timeout = timeout
        self._read_only = read_only
        self._pragmas = (
            # In the rollback journal, FULL does not sync the folder that the journal was deleted from.
            f"synchronous = {'EXTRA' if durable else 'NORMAL'}",
            "fullfsync = ON",  # macOS: through the drive's cache, too
            "checkpoint_fullfsync = ON",
            f"journal_size_limit = {_LOG_KEPT}",
            f"query_only = {'ON' if read_only else 'OFF'}",
            # Files may come from anybody: their tables call no functions, their pages are checked, and
            # a file that is cut short is an error and no signal.
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "mmap_size = 0",
        )
        self._writer = locks.long_lock()
        # Steps on these are atomic, so they need no lock.
        self._idle: list[sqlite3.Connection] = []
        self._busy: dict[object, int] = {}  # calls under way, each with its thread
        self._forking: int | None = None  # the thread that forks now
        self._stranded = False
        self._closed = False
        self._frozen = False
        self._file: tuple[int, int] | None = None
        _databases.add(self)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    # -- transactions ----------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for reads, which all see the same state of the file."""
        with self._connection() as connection, self._transaction(connection, "BEGIN"):
            yield connection

    @contextmanager
    def writing(self, *, timeout: float | None = None) -> Iterator[sqlite3.Connection]:
        """Lend a connection for one transaction: all of it is committed at the end, or nothing."""
        if self._read_only:
            raise PoolError(f"{self.path} was opened with read_only=True", pool=self.path, errno=errno.EROFS)
        wait = self._timeout if timeout is None else timeout
        # SQLite lets waiting writers poll. The threads of this process queue here.
        writer = self._writer
        locks.check_free(writer)
        if not writer.acquire(timeout=wait):
            raise locked(self.path, wait)
        try:
            with (
                self._connection(writes=True) as connection,
                self._transaction(connection, "BEGIN IMMEDIATE", wait),
            ):
                yield connection
        finally:
            writer.release()

    @contextmanager
    def _transaction(
        self, connection: sqlite3.Connection, begin: str, wait: float | None = None
    ) -> Iterator[None]:
        wait = self._timeout if wait is None else wait
        try:
            self._patiently(lambda: connection.execute(begin), wait)
            if begin == "BEGIN":  # takes the lock of readers now, where it can be waited for
                self._patiently(lambda: connection.execute("SELECT 1 FROM entries LIMIT 0"), wait)
            yield
            self._patiently(lambda: connection.execute("COMMIT"), wait)
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                connection.execute("ROLLBACK")
            raise

    def _patiently(self, step: Callable[[], object], wait: float) -> None:
        deadline = monotonic() + wait
        while True:
            try:
                step()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or monotonic() >= deadline:
                    raise
                sleep(0.002)  # SQLite does not always wait by itself
            else:
                return

    def compact(self) -> int:
        """Write the file anew without free pages; return the bytes that it shrank by."""
        with suppress(OSError):
            before = os.stat(self.path).st_size
        locks.check_free(self._writer)
        with self._writer, self._connection(writes=True) as connection:
            self._patiently(lambda: connection.execute("VACUUM"), self._timeout)
            self._patiently(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"), self._timeout)
        return before - os.stat(self.path).st_size

    def close(self) -> None:
        """Close every connection; wait for calls under way, up to the timeout, to close theirs."""
        self._closed = True
        self._wait_for_others(self._timeout)
        self._close_idle()

    # -- connections -----------------------------------------------------------------------------------------

    @contextmanager
    def _connection(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        call = object()
        connection: sqlite3.Connection | None = None
        keep = False
        try:
            self._enter(call)
            self._check_place(writes)
            with suppress(IndexError):
                connection = self._idle.pop()
            if connection is None:
                connection = self._connect()
            yield connection
            keep = True
        except LailaError:
            keep = connection is not None and not connection.in_transaction
            raise
        except sqlite3.Error as error:
            raise translated(error, self.path, self._timeout) from error
        finally:
            if connection is not None:
                keep = keep and not (self._closed or self._forking or self._frozen)
                if keep and len(self._idle) < _MOST_IDLE:
                    self._idle.append(connection)
                else:
                    connection.close()
            self._busy.pop(call, None)

    def _enter(self, call: object) -> None:
        """Count a call as under way, unless this process is being forked: then wait for that first."""
        while True:
            self._busy[call] = get_ident()
            forking = self._forking
            if forking is None:
                break
            del self._busy[call]
            if forking == get_ident():
                locks.refuse_reentry()
            sleep(0.001)
        if self._closed:
            raise PoolClosedError(f"the pool in {self.path} was closed; open it again", pool=self.path)
        if self._stranded:
            raise PoolError(
                f"this process was forked in the midst of a call on {self.path}, which cannot be used in it "
                "now; fork while no other thread uses the pool, or start processes by 'spawn'",
                pool=self.path,
            )

    def _connect(self, more: str = "") -> sqlite3.Connection:
        for suffix in ("-wal", "-shm", "-journal"):
            if os.path.islink(self.path + suffix):  # which SQLite might follow
                raise PoolError(
                    f"{self.path}{suffix} is a symbolic link, which is not followed: delete it",
                    pool=self.path,
                    errno=errno.ELOOP,
                )
        # The file was made: SQLite must not put an empty file in place of one that was deleted.
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode=rw{'&immutable=1' if self._frozen else ''}",
            uri=True,
            timeout=min(self._timeout, _MOMENT),
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_ROW)
            for pragma in self._pragmas:
                connection.execute(f"PRAGMA {pragma}")
            self._patiently(lambda: self._check_tables(connection), self._timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_tables(self, connection: sqlite3.Connection) -> None:
        with _one_state(connection):
            if not check_tables(connection, self.path) and self._file is not None:
                raise moved(self.path)

    def _check_place(self, writes: bool) -> None:
        """Refuse to go on with a file that is not at its place any more: what is written there is lost."""
        if self._file is None:
            return
        try:
            status = os.stat(self.path)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._file:
            raise moved(self.path)
        if writes and status.st_nlink > 1:
            raise PoolError(
                f"{self.path} has {status.st_nlink} names (hard links), and SQLite's log goes by the name: "
                "nothing was written. Give the file one name: delete the others, or make this one a copy",
                pool=self.path,
                errno=errno.EMLINK,
            )

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _wait_for_others(self, seconds: float) -> None:
        """Wait until no other thread is in the midst of a call, for so long at most."""
        deadline = monotonic() + seconds
        while any(thread != get_ident() for thread in list(self._busy.values())) and monotonic() < deadline:
            sleep(0.001)

    # -- the file --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Make a new or empty file a pool; leave any other as it is, and check that it is one."""
        status = look(self.path)
        if self._read_only and (status is None or not status.st_size):
            raise PoolError(
                f"there is no pool at {self.path}, and read_only=True makes none",
                pool=self.path,
                errno=errno.ENOENT,
            )
        if status is None:
            make(self.path)
        # Where nobody can write, SQLite cannot make what readers share either.
        self._frozen = (
            self._read_only
            and not os.access(os.path.dirname(self.path), os.W_OK)
            and not os.path.exists(f"{self.path}-wal")
        )
        with self._connection() as connection:
            if not self._read_only:
                self._fill(connection)
                self._choose_journal(connection)
            ((self.journal,),) = connection.execute("PRAGMA journal_mode")
            found = os.stat(self.path)
            self._file = found.st_dev, found.st_ino

    def _fill(self, connection: sqlite3.Connection) -> None:
        self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"), self._timeout)
        try:
            if not check_tables(connection, self.path):  # else another process was quicker
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _choose_journal(self, connection: sqlite3.Connection) -> None:
        """Use SQLite's write-ahead log where its readers can share memory, which hosts never do."""
        wanted = "DELETE" if is_remote(self.path) else "WAL"
        self._patiently(
            lambda: connection.execute(f"PRAGMA journal_mode = {wanted}").fetchall(), self._timeout
        )
        ((mode,),) = connection.execute("PRAGMA journal_mode")
        if mode != "wal":
            _log.warning(
                "%s is on a file system where SQLite cannot use its write-ahead log (WAL): all who use "
                "it wait for each other there, and are as safe as its locks are. Keep the file on a local "
                "disk, or keep a pool of files there (file:FOLDER)",
                self.path,
            )

    # -- forks -----------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        self._forking = get_ident()
        self._wait_for_others(_FORK_PATIENCE)
        self._close_idle()

    def _after_fork_in_parent(self) -> None:
        self._forking = None

    def _after_fork_in_child(self) -> None:
        # Whoever was in the midst of a call is the parent's.
        self._stranded = self._stranded or bool(self._busy)
        self._busy.clear()
        self._forking = None


@contextmanager
def _one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all reads of the body see the same state of the file."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


_databases: Renewed[Database] = Renewed(lambda database: database._after_fork_in_child())


def _prepare_forks() -> None:
    for database in _databases:
        database._before_fork()


def _end_forks() -> None:
    for database in _databases:
        database._after_fork_in_parent()


os.register_at_fork(before=_prepare_forks, after_in_parent=_end_forks)
