"""Locks between processes, with a time limit.

``flock`` belongs to an open file, and the kernel releases it when its process dies. HDF5 itself takes this
lock too. So plain HDF5 readers are kept out while committed bytes change, and they keep this pool out while
they have the file open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from laila.errors import PoolError, PoolLockedError
from laila.pool.hdf5.queue import Queue
from laila.pool.hdf5.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NO_LOCKS", "LockFile", "locked"]

NO_LOCKS = -1.0
"""Stands for a time limit: take no lock."""
# Errors of a file system that was mounted without locks, or never had any.
_HAS_NONE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

# Often at first: a process that commits without rest leaves the lock only for moments.
_SHORTEST_PAUSE, _PAUSE_BEHIND_OTHERS, _LONGEST_PAUSE = 0.0002, 0.0005, 0.02
# Earlier processes may be stopped (Ctrl-Z, a debugger): nobody waits for them longer than so many seconds.
_PATIENCE = 0.5


@contextmanager
def locked(
    fd: int,
    *,
    exclusive: bool,
    timeout: float,
    path: str,
    what: str,
    queue: Queue | None = None,
    prepare: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Hold the lock of the open file ``fd`` for the body.

    Waits up to ``timeout`` seconds (0: not at all), then raises :class:`~laila.errors.PoolLockedError`.
    ``path`` and ``what`` (who probably holds the lock) are for its message. With a ``queue`` the waiting
    processes get the lock in the order of their arrival; ``prepare`` is called before this process joins
    them.
    """
    if timeout == NO_LOCKS:
        yield
        return
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        if not _take(fd, kind, timeout, queue, prepare):
            so_long = f" for {timeout:g} seconds" if timeout else ""
            raise PoolLockedError(
                f"{path} is held by {what}{so_long}; try again, or open the pool with lock='wait' "
                "and a larger lock_timeout",
                pool=path,
            )
        yield
    except OSError as error:
        if error.errno not in _HAS_NONE or isinstance(error, PoolError) or error.filename is not None:
            raise
        raise PoolError(
            f"cannot lock {path}: the file system has no locks ({error.strerror}), and processes need them "
            "to take turns. Open the pool with lock='none' if no other process writes to the "
            "file, use a local disk, or mount the file system with locks (Lustre: -o flock; NFS: without "
            "nolock). A files pool (file:///folder) needs none",
            pool=path,
            errno=error.errno,
        ) from error
    finally:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # also after an interrupt at the moment when the lock was taken


def _take(
    fd: int, kind: int, timeout: float, queue: Queue | None, prepare: Callable[[], object] | None
) -> bool:
    if queue is None or not timeout:
        return _wait(fd, kind, timeout, lambda: True)
    if queue.is_empty() and _try(fd, kind):
        return True
    if prepare is not None:
        prepare()
    served = False
    try:
        queue.enter()
        served = _wait(fd, kind, timeout, queue.is_first)
    finally:
        queue.leave(served=served)
    return served


def _wait(fd: int, kind: int, timeout: float, is_first: Callable[[], bool]) -> bool:
    """Take the lock once ``is_first`` is true and it is free; return whether that happened in time."""
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        over = waited >= timeout
        first = is_first()
        if (first or over or waited >= _PATIENCE) and _try(fd, kind):
            return True
        if over:
            return False
        pause = max(_SHORTEST_PAUSE if first else _PAUSE_BEHIND_OTHERS, waited / 200)
        time.sleep(min(pause, _LONGEST_PAUSE, timeout - waited))


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class LockFile:
    """The file ``<path>.lock``, which carries the lock of the writers of ``path``.

    It is a file of its own, because compaction puts another file at ``path``. Opened when first needed; used
    by one thread at a time. ``prepare`` is called before this process waits and makes others wait behind it.
    """

    def __init__(self, path: str, prepare: Callable[[], object] | None = None) -> None:
        self.path = f"{path}.lock"
        self._pool = path
        self._file: FileStorage | None = None
        self._queue: Queue | None = None
        self._prepare = prepare

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock for the body; waits up to ``timeout`` seconds, like :func:`locked`."""
        if timeout == NO_LOCKS:
            yield
            return
        while True:
            file = self._file or self._open()
            with locked(
                file.fd,
                exclusive=True,
                timeout=timeout,
                path=self._pool,
                what="another process that writes",
                queue=self._queue,
                prepare=self._prepare,
            ):
                if file.is_at(self.path):
                    yield
                    return
            # Somebody has deleted the file. Later processes make another file, so the lock of this one keeps
            # nobody out.
            self.close()

    def _open(self) -> FileStorage:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(self.path, flags, self._mode())
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise OSError(errno.EINVAL, "it is no regular file")
        except OSError as error:
            folder = os.path.dirname(self.path) or "."
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise PoolError(
                    f"cannot make {self._pool}: the folder {folder} is not there. Make it, or "
                    "mount it, first",
                    errno=error.errno,
                    pool=self._pool,
                ) from error
            advice = ""
            if error.errno == errno.ELOOP:
                advice = "; it is a symbolic link, which is not followed: delete it"
            if error.errno in (errno.EINVAL, errno.ENXIO):
                advice = "; it is no file of locks: delete it"
            if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                advice = "; without the right to write, open the pool with read_only=True"
            raise PoolError(
                f"cannot open {self.path}, which those who write to the pool lock: {error.strerror}{advice}",
                errno=error.errno,
                pool=self._pool,
            ) from error
        self._file, self._queue = FileStorage(fd), Queue(fd, os.path.dirname(self.path) or ".")
        return self._file

    def _mode(self) -> int:
        """Return the mode of the lock file: everybody who may read the pool may lock, and nobody else."""
        try:
            return os.stat(self._pool).st_mode & 0o666
        except OSError:
            return 0o666  # there is no pool yet; it will be as open as this user's files are

    def close(self) -> None:
        """Close the file. That releases the lock, unless a fork has shared it."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
