"""A queue of the processes that wait for one lock, in the byte ranges of the lock's file.

``flock`` does not say who else waits, and a process that asks at the right moment gets the lock. So a process
that writes without rest would keep the lock from waiting processes. Therefore each process takes a ticket, a
lock of one byte of the file beyond all locked bytes, and lets earlier tickets go first. The file need not
have these bytes.

Only the order depends on the tickets, never who holds the lock. The kernel takes a ticket back when its
process dies. A stopped process keeps its place, so patience must end: a process that then goes out of turn
passes all earlier tickets, and does not wait for them again.

The tickets are Linux's "open file description locks" (see fcntl(2)); two pools in one process each have their
own. Other systems, and file systems without these locks, have no order. A file system such as NFS has no
order either: there ``flock`` locks all bytes of the file in the same manner, and tickets would keep everybody
out.
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
_TRIES = 1000  # to find the end of the queue; each try passes a waiting process

_GET: int | None = getattr(fcntl, "F_OFD_GETLK", None)
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)


class Queue:
    """The queue in the open file ``fd``, with one place for its user. Never raises; used by one thread.

    ``folder`` is the folder of that file; its file system is examined.
    """

    def __init__(self, fd: int, folder: str) -> None:
        self._fd = fd
        self._usable = _is_usable(folder)
        self._ticket: int | None = None
        self._passed = 0  # tickets up to this one are not waited for

    def is_empty(self) -> bool:
        """Whether nobody waits."""
        if not self._usable:
            return True
        if self._passed and _locked(self._fd, 0, 0) is None:
            self._passed = 0
        return _locked(self._fd, self._passed, 0) is None

    def enter(self) -> None:
        """Take a place behind all others."""
        self.leave(served=False)  # an interrupt may have come before it was finished
        number = self._passed
        for _ in range(_TRIES if self._usable else 0):
            other = _locked(self._fd, number, 0)
            if other is not None:
                number = max(number, other) + 1
                continue
            self._ticket = number  # set first, so that an interrupt leaves no lock that nobody knows
            if _lock(self._fd, number):
                return
        self._ticket = None

    def is_first(self) -> bool:
        """Whether all earlier processes have left."""
        before = 0 if self._ticket is None else self._ticket - self._passed
        return before <= 0 or _locked(self._fd, self._passed, before) is None

    def leave(self, *, served: bool) -> None:
        """Give the place back; ``served`` says that this process got the lock, perhaps out of turn."""
        if self._ticket is not None:
            if served and not self.is_first():
                self._passed = self._ticket
            _unlock(self._fd, self._ticket)
            self._ticket = None


def _is_usable(folder: str) -> bool:
    """Whether these locks and ``flock`` are independent here, tried on a file without a name."""
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
    """Return a byte in the range that another process has locked, or None."""
    if _GET is None:
        return None
    try:
        answer = fcntl.fcntl(fd, _GET, _FLOCK.pack(fcntl.F_WRLCK, 0, start, length, 0))
    except OSError:
        return None
    kind, _, start_of_lock, _, _ = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else start_of_lock


def _lock(fd: int, number: int) -> bool:
    """Lock a byte; return False if another process was quicker. Without such locks, return True."""
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
