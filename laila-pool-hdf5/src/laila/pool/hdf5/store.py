"""One path, several threads and processes: who may write, who must look again, and how a file is replaced.

Locks, always taken in this order:

1. ``_writer`` among the threads of this process, then the lock of ``<path>.lock`` among processes: one
   transaction at a time. That file stays when compaction puts another file at ``path``. Other threads that
   want to write meanwhile share the commit of the next of them; processes come in turn.
2. ``_steady`` among threads, then the lock of the data file. A process holds it exclusively while committed
   bytes or the index change. Processes that look for other processes' commits share it. Plain HDF5 takes this
   second lock too.

Reading an entry of the index takes no lock, because the bytes of an entry never change in a file.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from laila.contract import Blob, Renewed, locks, logger
from laila.errors import LailaError, PoolClosedError, PoolError, PoolFormatError
from laila.pool.hdf5.durable import DurableFile
from laila.pool.hdf5.layout import Header, superblock_end
from laila.pool.hdf5.locking import NO_LOCKS, LockFile, locked
from laila.pool.hdf5.poolfile import PoolFile, Transaction
from laila.pool.hdf5.reporting import reporting
from laila.pool.hdf5.requests import Request, Requests
from laila.pool.hdf5.storage import FileStorage, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.pool.hdf5.native import Session

__all__ = ["Store"]

_log = logger(__name__)

# Automatic compaction waits until this much is dead, and it is more than what is alive.
_COMPACT_FROM = 32 * 1024 * 1024
_COMPACTING = ".compacting"

_stores: Renewed[Store] = Renewed(lambda store: store._forget_after_fork())

T = TypeVar("T")


class Store:
    """The pool file at ``path``, made if it is missing. Safe in any thread, and in a forked child."""

    def __init__(
        self,
        path: str,
        *,
        durable: bool = True,
        timeout: float = 30.0,
        read_only: bool = False,
        compact: bool = True,
    ) -> None:
        self.path = os.path.realpath(path)
        self._durable = durable
        self._timeout = timeout
        self._at_once = timeout if timeout == NO_LOCKS else 0.0
        self._read_only = read_only
        self._auto_compact = compact
        self._closed = False
        self._writer = locks.long_lock()
        self._steady = locks.long_lock()
        self._lock = LockFile(self.path, _import_hdf5)
        self._requests = Requests()
        self._compact_from = _COMPACT_FROM
        self._file: PoolFile | None = None
        with reporting("open", self.path):
            self._file = self._open()
        _stores.add(self)

    # -- opening -------------------------------------------------------------------------------------------

    def _open(self) -> PoolFile:
        """Open the present file at the path, and load its index."""
        file = self._attach()
        if file is None:
            if self._read_only:
                raise PoolError(
                    f"{self.path} does not exist or is empty, and read_only=True makes no file",
                    pool=self.path,
                    errno=errno.ENOENT,
                )
            with self._lock.held(self._timeout):
                file = self._attach()
                if file is None:
                    return self._build(".creating", lambda transaction: None)
        if self._load(file):
            if not self._read_only:
                self._tidy()
            return file
        if self._read_only:
            raise PoolError(
                f"{self.path} was not closed in order; open it once for writing, which recovers it",
                pool=self.path,
            )
        with self._lock.held(self._timeout):
            file.recover()
            file.refresh()
        self._tidy()
        return file

    def _tidy(self) -> None:
        """Delete the file that a process left when it died during compaction."""
        left = self.path + _COMPACTING
        if os.path.exists(left):
            # Held: somebody is compacting, and the file is in use. Another error: compact() will report it.
            with suppress(OSError), self._lock.held(self._at_once):
                os.unlink(left)

    def _attach(self) -> PoolFile | None:
        """Open the file if it is there and not empty. Nothing is written to a file that is not a pool."""
        try:
            # O_NONBLOCK only means here: do not wait for the other end of a pipe.
            mode = os.O_RDONLY if self._read_only else os.O_RDWR
            fd = os.open(self.path, mode | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        storage = FileStorage(fd, durable=self._durable)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise PoolFormatError(f"{self.path} is no regular file", pool=self.path)
        if not storage.size():
            return None
        Header.identify(storage, self.path)
        return self._pool_file(storage)

    def _pool_file(self, storage: FileStorage) -> PoolFile:
        return PoolFile(storage, self.path, lambda: self._locked(storage, exclusive=True))

    def _load(self, file: PoolFile) -> bool:
        """Bring ``file`` up to date. Return False if a writer died in a commit: it needs recovery."""
        with self._locked(_storage(file), exclusive=False):
            if file.needs_recovery():
                return False
            if not file.header.generation:
                superblock_end(
                    file.storage, self.path
                )  # a file cut short is better found now than entry by entry
            file.refresh()
            return True

    def _build(self, suffix: str, fill: Callable[[Transaction], None]) -> PoolFile:
        """Make a new file beside the path and put it there: a crash leaves the old file or the new file."""
        beside = self.path + suffix
        with suppress(FileNotFoundError):
            os.unlink(beside)  # left by a process that died here; the lock keeps others away
        # The new file is never more open than the file that it replaces.
        mode = 0o666 if self._file is None else 0o600
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        storage = FileStorage(fd, durable=self._durable)
        try:
            built, transaction = PoolFile.create(storage, self.path)
            try:
                fill(transaction)
                transaction.commit()
            except BaseException as error:
                transaction.rollback()
                if transaction.failure is not None and transaction.failure is not error:
                    raise transaction.failure from error
                raise
            old = self._file
            if old is None:
                os.rename(beside, self.path)
            else:
                self._replace(old, beside, storage)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise
        if self._durable:
            sync_directory(os.path.dirname(self.path))
        file = self._pool_file(storage)
        file.header, file.index = built.header, built.index
        Header.set_opened(storage, os.fstat(storage.fd).st_ino)
        file.owned = True
        return file

    def _replace(self, old: PoolFile, beside: str, storage: FileStorage) -> None:
        before = os.stat(self.path)
        now = os.fstat(storage.fd)
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            try:
                os.fchown(storage.fd, before.st_uid, before.st_gid)
            except PermissionError as error:
                raise PoolError(
                    f"cannot compact {self.path}: the new file would be another user's or group's, and only "
                    "the owner or root can give it to them; let the owner of the file compact it",
                    pool=self.path,
                    errno=error.errno,
                ) from error
        os.fchmod(
            storage.fd, stat.S_IMODE(before.st_mode)
        )  # after the owner: a change of that takes bits away
        with self._locked(_storage(old), exclusive=True):
            # Others have the old file open: they must learn of the new file, but only when it can be found.
            Header.set_moved(old.storage, True)
            os.rename(beside, self.path)

    # -- locks ---------------------------------------------------------------------------------------------

    def _locked(self, storage: FileStorage, *, exclusive: bool) -> AbstractContextManager[None]:
        return locked(
            storage.fd,
            exclusive=exclusive,
            timeout=self._timeout,
            path=self.path,
            what="another process, or by HDF5 itself (a file open in h5py keeps writers out)",
        )

    # -- reading -------------------------------------------------------------------------------------------

    def current(self) -> PoolFile:
        """Return the file to read from, its index up to date with the commits of all processes."""
        file = self._file
        if file is not None:
            *seen, moved = Header.glance(file.storage)
            # Somebody may have put another file here, for example a backup: the caller asked for this path.
            known = [file.header.file_id, file.header.generation]
            if seen == known and not moved and _storage(file).is_at(self.path):
                return file
        with reporting("read", self.path):
            return self._catch_up()

    def evolutions(self, stem: str) -> list[int]:
        """Return the numbers ``n`` of the keys ``<stem>-<n>``, ascending."""
        index = self.current().index
        locks.check_free(self._steady)
        with self._steady:
            return index.evolutions(stem)

    def _catch_up(self) -> PoolFile:
        locks.check_free(self._steady)
        while True:
            with self._steady:
                self._check_open()
                file = self._file_at_path()
                if self._load(file):
                    return file
            if self._read_only:
                raise PoolError(
                    f"a process that wrote to {self.path} died; open it once for writing, which recovers it",
                    pool=self.path,
                )
            locks.check_free(self._writer)
            with self._writer, self._writing():
                pass  # the next writer recovers the file

    def _file_at_path(self) -> PoolFile:
        """Return the file at the path, opened anew if another file stands there now."""
        file = self._file
        if file is None or not _storage(file).is_at(self.path):
            file = self._file = self._attach()
            if file is None:
                raise PoolError(
                    f"{self.path} was removed or emptied while this pool had it open; open the pool anew",
                    pool=self.path,
                    errno=errno.ENOENT,
                )
        return file

    # -- writing -------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[PoolFile]:
        """Be the only writing process, with the present file at the path, recovered and up to date.

        The caller holds ``_writer``.
        """
        self._check_open()
        if self._read_only:
            raise PoolError(f"{self.path} was opened with read_only=True", pool=self.path, errno=errno.EROFS)
        with self._lock.held(self._timeout):
            with self._steady:
                file = self._file_at_path()
                self._refuse_links(file)
                if file.needs_recovery():
                    file.recover()
                file.refresh()
                if Header.glance(file.storage)[2]:
                    # The process that wanted to put another file here died before it did.
                    Header.set_moved(file.storage, False)
            yield self._own(file)

    def _refuse_links(self, file: PoolFile) -> None:
        """Raise if the file has a second name: writers under that name would take another lock."""
        links = os.fstat(_storage(file).fd).st_nlink
        if links > 1:
            raise PoolError(
                f"{self.path} has {links} names (hard links), and the lock of those who write goes by the "
                "name: nothing was written. Give the file one name: delete the others, or make this one a "
                "copy (cp, then mv it here)",
                pool=self.path,
                errno=errno.EMLINK,
            )

    def _own(self, file: PoolFile) -> PoolFile:
        """Return the file to write to: ``file`` itself, or a new file made from a torn copy.

        If somebody copied the file in the midst of commits, HDF5's structures come from several commits, and
        HDF5 must not write there. laila's own structures are whole, and are enough to make a new file.
        """
        storage = _storage(file)
        number = os.fstat(storage.fd).st_ino
        if file.owned:
            return file
        if Header.opened_as(storage) not in (0, number) and storage.size() > superblock_end(
            storage, self.path
        ):
            self._file = file

            def fill(transaction: Transaction) -> None:
                for key, entry in list(file.index.entries.items()):
                    stored = file.read(entry)
                    make = Blob.from_parts if isinstance(stored, list) else Blob.from_bytes
                    transaction.put(key, make(stored, key=key))  # type: ignore[arg-type]

            built = self._build(_COMPACTING, fill)
            _log.warning(
                "%s is a copy that was made while the file was open: its entries were taken into a new file",
                self.path,
            )
            with self._steady:
                self._file = built
            return built
        Header.set_opened(storage, number)
        file.owned = True
        return file

    def transact(self, change: Callable[[Transaction], T], keys: frozenset[str] | None) -> T:
        """Run ``change`` of ``keys`` (None: all), commit it, and return its result. Blocks.

        Changes of several threads may share a commit. If the commit fails, each change is made again alone,
        so ``change`` may be called more than once.

        Raises :class:`PoolError` with nothing changed; :class:`PoolLockedError` when another process keeps
        the file.
        """
        wasteful = False
        locks.check_free(self._writer)
        with self._requests.add(change, keys) as request, reporting("write", self.path), self._writer:
            while not request.done:
                wasteful = self._commit_for(request)
        if wasteful:
            try:
                self.compact()
            except LailaError as error:
                # The transaction is done; it does not fail because space could not be given back.
                _log.warning("automatic compaction of %s failed: %s", self.path, error)
        result: T = request.result
        return result

    def _commit_for(self, request: Request) -> bool:
        """Commit ``request`` and all that can share its transaction; return whether much is waste.

        On return the request is done, or must be made again alone. The caller holds ``_writer``.
        """
        together = self._requests.that_go_with(request)
        with self._writing() as file:
            transaction = file.begin()
            try:
                for each in together:
                    each.result = each.change(transaction)
                if transaction.changed:
                    with self._steady:
                        transaction.commit()
            except BaseException as error:
                committed = transaction.committed
                transaction.rollback()
                if committed:
                    self._finish(file, error)
                    self._requests.done(together)
                elif len(together) > 1 and isinstance(error, Exception):
                    # Each request finds out alone whether it caused the failure.
                    for each in together:
                        each.alone = True
                    return False
                if transaction.failure is not None and transaction.failure is not error:
                    raise transaction.failure from error
                if not committed or not isinstance(error, Exception):
                    raise
            self._requests.done(together)
            dead, size = file.index.dead, superblock_end(file.storage, self.path)
        if not self._auto_compact or dead <= max(self._compact_from, size // 2):
            return False
        self._compact_from = 2 * dead  # until it succeeds: a full disk is not tried again for each write
        return True

    def _finish(self, file: PoolFile, error: BaseException) -> None:
        """Write the committed pages of the journal in their places, after ``error`` interrupted that."""
        try:
            with self._steady:
                file.recover()
                file.refresh()
        except OSError:
            if not isinstance(error, OSError):
                raise error from None
            raise PoolError(
                f"the change to {self.path} is safe in its journal, but could not be put in place "
                f"({error.strerror or error}); it will be when the file is next written to",
                errno=error.errno,
                pool=self.path,
            ) from error

    def compact(self) -> int:
        """Write the living entries into a new file in place of this one; return the bytes saved. Blocks.

        Needs as much free space as the result. Readers go on meanwhile, writers wait.
        """
        locks.check_free(self._writer)
        with reporting("compact", self.path), self._writer, self._writing() as file:
            before = superblock_end(file.storage, self.path)
            with self._source_session(file) as session:

                def fill(transaction: Transaction) -> None:
                    transaction.copy_rest(session)
                    for entry in list(file.index.entries.values()):
                        transaction.copy(entry, file, session)

                built = self._build(_COMPACTING, fill)
            with self._steady:
                self._file = built
            self._compact_from = _COMPACT_FROM
            return before - superblock_end(built.storage, self.path)

    @contextmanager
    def _source_session(self, file: PoolFile) -> Iterator[Session]:
        """Return the file open in HDF5, as the source of a copy."""
        from laila.pool.hdf5.native import Session

        source = DurableFile(file.storage, superblock_end(file.storage, self.path), b"")
        session = Session(source, read_only=True)
        try:
            yield session
        finally:
            session.abandon()

    # -- the end -------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError(f"the pool of {self.path} was closed; open it again", pool=self.path)

    def close(self) -> None:
        """Let go of the file. Cut it to its proper length if no other process is writing."""
        locks.check_free(self._writer)
        with self._writer:
            with self._steady:
                self._closed = True
                file, self._file = self._file, None
            try:
                # It does not matter if this fails: the next writer cuts off the bytes past the end.
                with suppress(OSError):
                    if file is not None and not self._read_only and _storage(file).is_at(self.path):
                        with self._lock.held(self._at_once):
                            if not file.needs_recovery() and _storage(file).is_at(self.path):
                                file.storage.truncate(superblock_end(file.storage, self.path))
            finally:
                self._lock.close()

    def _forget_after_fork(self) -> None:
        # The locks of an open file are shared with the parent while it is open anywhere, and a lock that
        # another thread held stays held for ever. The results that other threads wait for belong to the
        # parent.
        self._writer, self._steady = locks.long_lock(), locks.long_lock()
        self._requests = Requests()
        self._lock.close()
        file, self._file = self._file, None
        if file is not None:
            _storage(file).close()


def _import_hdf5() -> None:
    """Import HDF5. That takes most of a second on a busy machine, so no lock may be held meanwhile."""
    import laila.pool.hdf5.native  # noqa: F401


def _storage(file: PoolFile) -> FileStorage:
    assert isinstance(file.storage, FileStorage)
    return file.storage
