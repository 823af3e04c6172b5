"""The few things a file must be able to do: the seam between the crash-safe file and the disk under it.

The code above asks for nothing else, so that a test can put a disk in its place that forgets what was not
synced.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import TYPE_CHECKING, Protocol

from laila.contract import allocate

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["FileStorage", "Storage", "sync_directory"]

# A larger read becomes a map of the file: no copy is made, and the pages come from the cache as they are
# touched.
MAP_FROM = 1 << 20
# Linux moves at most 2 GiB less a page in one call.
_MOST = 1 << 30
_LAST = (1 << 63) - 1  # where a file may have a byte
_AT_ONCE = 8 << 20


class Storage(Protocol):
    """A file, by position. Errors of the system come through as ``OSError``."""

    def size(self) -> int:
        """The length in bytes."""

    def read(self, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only at the end of the file."""

    def own(self, length: int, offset: int) -> memoryview:
        """As :meth:`read`, into memory that is the caller's alone, and writable."""

    def view(self, length: int, offset: int) -> memoryview:
        """As :meth:`read`, as a map where that is much. For bytes that never change.

        Who cuts the file short under a map ends the process that looks there.
        """

    def write(self, data: ReadableBuffer, offset: int) -> None:
        """Write all of ``data``, growing the file where needed."""

    def truncate(self, size: int) -> None:
        """Set the length."""

    def sync(self) -> None:
        """Return when everything written, and the length, survive a power failure."""


class FileStorage:
    """A file descriptor as :class:`Storage`; closes it when closed or collected.

    With ``durable=False`` nothing is synced: what is written survives the process, not the power.
    Thread-safe: every call carries its own position.
    """

    def __init__(self, fd: int, *, durable: bool = True) -> None:
        self.fd = fd
        self.durable = durable

    def size(self) -> int:
        """See :class:`Storage`."""
        return os.fstat(self.fd).st_size

    def read(self, length: int, offset: int) -> bytes:
        """See :class:`Storage`."""
        if offset > _LAST:
            return b""  # where a damaged file says that something is
        if length > MAP_FROM:
            return bytes(self.own(length, offset))  # no more than is there, and fits into memory
        data = os.pread(self.fd, length, offset)
        pieces = [data]
        got = len(data)
        while data and got < length:
            data = os.pread(self.fd, length - got, offset + got)
            pieces.append(data)
            got += len(data)
        return b"".join(pieces) if len(pieces) > 1 else pieces[0]

    def own(self, length: int, offset: int) -> memoryview:
        """See :class:`Storage`."""
        memory = allocate(max(min(length, self.size() - offset), 0))
        end = 0
        while end < len(memory):
            got = os.preadv(self.fd, [memory[end : end + _AT_ONCE]], offset + end)
            if not got:
                break
            end += got
        return memory[:end]

    def view(self, length: int, offset: int) -> memoryview:
        """See :class:`Storage`. A map stays good when the file is closed or unlinked."""
        if length < MAP_FROM or offset + length > self.size():
            return memoryview(self.read(length, offset))
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        skip = offset - start
        mapped = mmap.mmap(self.fd, skip + length, access=mmap.ACCESS_READ, offset=start)
        return memoryview(mapped)[skip:]

    def write(self, data: ReadableBuffer, offset: int) -> None:
        """See :class:`Storage`."""
        view = memoryview(data)
        while True:
            written = os.pwrite(self.fd, view[:_MOST], offset)
            if written == len(view):
                return
            view = view[written:]
            offset += written

    def truncate(self, size: int) -> None:
        """See :class:`Storage`."""
        os.ftruncate(self.fd, size)

    def sync(self) -> None:
        """See :class:`Storage`."""
        if self.durable:
            _sync(self.fd)

    def is_at(self, path: str) -> bool:
        """Whether this is the file that stands at ``path`` now."""
        mine = os.fstat(self.fd)
        try:
            there = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)

    def close(self) -> None:
        """Close the descriptor; views that were given out stay good."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # Readers may still hold a file that compaction has replaced: the last one to let go closes it.
        self.close()


if sys.platform == "darwin":
    import fcntl

    def _sync(fd: int) -> None:
        # There fsync leaves the data in the drive's own cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
else:

    def _sync(fd: int) -> None:
        os.fdatasync(fd)


def sync_directory(path: str) -> None:
    """Make the names in a directory survive a power failure; no sync of a file covers its name."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
