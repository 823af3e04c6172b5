"""Locks between processes, with a time limit.

``flock`` belongs to an open file, is given back by the kernel when its process dies, and is what HDF5 itself
takes: plain HDF5 readers are kept out while committed bytes change, and keep this pool out while they are
open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from laila.errors import PoolError, PoolLockedError
from laila.pool.hdf5.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LockFile", "locked"]

_SHORTEST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.02


@contextmanager
def locked(fd: int, *, exclusive: bool, timeout: float, path: str, what: str) -> Iterator[None]:
    """Hold the lock of the open file ``fd`` for the body.

    Waits up to ``timeout`` seconds (0: not at all), then raises :class:`~laila.errors.PoolLockedError`;
    ``path`` and ``what`` (who is likely to hold it) are for its message.
    """
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    started = time.monotonic()
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            waited = time.monotonic() - started
            if waited >= timeout:
                so_long = f" for {timeout:g} seconds" if timeout else ""
                raise PoolLockedError(
                    f"{path} is held by {what}{so_long}; try again, or open the pool with lock='wait' "
                    "and a larger lock_timeout",
                    pool=path,
                ) from None
            # Often at first: a process that commits without rest leaves the lock for moments only.
            pause = min(max(_SHORTEST_PAUSE, waited / 1000), _LONGEST_PAUSE)
            time.sleep(min(pause, timeout - waited))
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


class LockFile:
    """The file ``<path>.lock``, which carries the lock of those who write to ``path``.

    A file of its own, because compaction puts another one at ``path``. Opened when first needed; used by one
    thread at a time.
    """

    def __init__(self, path: str) -> None:
        self.path = f"{path}.lock"
        self._pool = path
        self._file: FileStorage | None = None

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock for the body; see :func:`locked`."""
        while True:
            file = self._file or self._open()
            with locked(
                file.fd,
                exclusive=True,
                timeout=timeout,
                path=self._pool,
                what="another process that writes",
            ):
                if file.is_at(self.path):
                    yield
                    return
            # Somebody has deleted the file: who comes now makes another one, and the lock of this one keeps
            # nobody out.
            self.close()

    def _open(self) -> FileStorage:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            advice = ""
            if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                advice = "; without the right to write, open the pool with read_only=True"
            raise PoolError(
                f"cannot open {self.path}, which those who write to the pool lock: {error.strerror}{advice}",
                errno=error.errno,
                pool=self._pool,
            ) from error
        self._file = FileStorage(fd)
        return self._file

    def close(self) -> None:
        """Close the file, which lets go of the lock, unless a fork has shared it."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
