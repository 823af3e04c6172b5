"""Who comes first, of the processes that wait for one lock: a queue in the byte ranges of the lock's file.

``flock`` does not say who else waits, and whoever asks at the right moment gets the lock: a process that
writes without rest keeps it from those that wait. So each of these takes a ticket, a lock of one byte of the
file beyond all that are locked, and lets those before it go first. The bytes need not be there.

Only the order depends on this, never who holds the lock. The kernel takes a ticket back when its process
dies. A process that is stopped keeps its place, so patience must end: who then goes out of turn passes by
all that are before it, and does not wait for them again.

These locks are Linux's "open file description locks" (see fcntl(2)), which two pools in one process have each
for itself. Elsewhere, and on a file system without them, there is no order; nor on one such as NFS, where
``flock`` locks all bytes of the file in their manner, and tickets would keep everybody from it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress

__all__ = ["Queue"]

_FLOCK = struct.Struct("hhqqi0q")  # struct flock: type, whence, start, length (0: without end), process
_TAKEN = {errno.EAGAIN, errno.EACCES}
_TRIES = 1000  # to find the end of the queue, each of which passes one that waits

_GET: int | None = getattr(fcntl, "F_OFD_GETLK", None)
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)


class Queue:
    """The queue in the open file ``fd``, with one place for its user. Raises nothing; used by one thread.

    ``folder`` is where that file is, for a look at what its file system does.
    """

    def __init__(self, fd: int, folder: str) -> None:
        self._fd = fd
        self._usable = _is_usable(folder)
        self._ticket: int | None = None
        self._passed = 0  # who has a lower ticket is not waited for

    def is_empty(self) -> bool:
        """Whether there is nobody to wait for."""
        if not self._usable:
            return True
        if self._passed and _locked(self._fd, 0, 0) is None:
            self._passed = 0
        return _locked(self._fd, self._passed, 0) is None

    def enter(self) -> None:
        """Take a place behind all others."""
        self.leave(served=False)  # an interrupt may have come before it was done
        number = self._passed
        for _ in range(_TRIES if self._usable else 0):
            other = _locked(self._fd, number, 0)
            if other is not None:
                number = max(number, other) + 1
                continue
            self._ticket = number  # first, so that no interrupt leaves a lock that nobody knows of
            if _lock(self._fd, number):
                return
        self._ticket = None

    def is_first(self) -> bool:
        """Whether all who came before have gone."""
        before = 0 if self._ticket is None else self._ticket - self._passed
        return before <= 0 or _locked(self._fd, self._passed, before) is None

    def leave(self, *, served: bool) -> None:
        """Give the place back; ``served`` says that what it was for came, perhaps out of turn."""
        if self._ticket is not None:
            if served and not self.is_first():
                self._passed = self._ticket
            _unlock(self._fd, self._ticket)
            self._ticket = None


def _is_usable(folder: str) -> bool:
    """Whether such locks and ``flock`` know nothing of each other here, tried on a file without a name."""
    if _GET is None:
        return False
    fds: list[int] = []
    try:
        fds.append(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
        fcntl.flock(fds[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        fds.append(os.open(f"/proc/self/fd/{fds[0]}", os.O_RDWR | os.O_CLOEXEC))
        return _locked(fds[1], 0, 0) is None
    except OSError:
        return False
    finally:
        for fd in fds:
            os.close(fd)


def _locked(fd: int, start: int, length: int) -> int | None:
    """A byte in the range that somebody else has locked, or None."""
    if _GET is None:
        return None
    try:
        answer = fcntl.fcntl(fd, _GET, _FLOCK.pack(fcntl.F_WRLCK, 0, start, length, 0))
    except OSError:
        return None
    kind, _, found, _, _ = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else found


def _lock(fd: int, number: int) -> bool:
    """Lock a byte; False where somebody else was quicker. Without such locks it is as good as done."""
    if _SET is not None:
        try:
            fcntl.fcntl(fd, _SET, _FLOCK.pack(fcntl.F_WRLCK, 0, number, 1, 0))
        except OSError as error:
            return error.errno not in _TAKEN
    return True


def _unlock(fd: int, number: int) -> None:
    if _SET is not None:
        with suppress(OSError):
            fcntl.fcntl(fd, _SET, _FLOCK.pack(fcntl.F_UNLCK, 0, number, 1, 0))
