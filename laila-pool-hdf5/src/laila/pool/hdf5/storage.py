"""The few operations of a file: the seam between the crash-safe file and the disk under it.

The code above needs nothing else, so a test can put in a disk that forgets unsynced bytes.
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
        """Read like :meth:`read`, into writable memory that the caller alone owns."""

    def view(self, length: int, offset: int) -> memoryview:
        """Read like :meth:`read`, as a map if the length is large. Only for bytes that never change.

        If somebody cuts the file short under a map, a process that reads the map ends.
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
        """The length in bytes."""
        return os.fstat(self.fd).st_size

    def read(self, length: int, offset: int) -> bytes:
        """Read up to ``length`` bytes from ``offset``; fewer only at the end of the file."""
        if offset > _LAST:
            return b""  # a damaged file says that bytes are there
        if length > MAP_FROM:
            # reads only the bytes that are there, and that fit into memory
            return bytes(self.own(length, offset))
        data = os.pread(self.fd, length, offset)
        pieces = [data]
        got = len(data)
        while data and got < length:
            data = os.pread(self.fd, length - got, offset + got)
            pieces.append(data)
            got += len(data)
        return b"".join(pieces) if len(pieces) > 1 else pieces[0]

    def own(self, length: int, offset: int) -> memoryview:
        """Read into writable memory that the caller alone owns."""
        memory = allocate(max(min(length, self.size() - offset), 0))
        end = 0
        while end < len(memory):
            got = os.preadv(self.fd, [memory[end : end + _AT_ONCE]], offset + end)
            if not got:
                break
            end += got
        return memory[:end]

    def view(self, length: int, offset: int) -> memoryview:
        """Read, as a map if the length is large. A map stays good when the file is closed or unlinked."""
        if length < MAP_FROM or offset + length > self.size():
            return memoryview(self.read(length, offset))
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        skip = offset - start
        mapped = mmap.mmap(self.fd, skip + length, access=mmap.ACCESS_READ, offset=start)
        return memoryview(mapped)[skip:]

    def write(self, data: ReadableBuffer, offset: int) -> None:
        """Write all of ``data``, growing the file if needed."""
        view = memoryview(data)
        while True:
            written = os.pwrite(self.fd, view[:_MOST], offset)
            if written == len(view):
                return
            view = view[written:]
            offset += written

    def truncate(self, size: int) -> None:
        """Set the length."""
        os.ftruncate(self.fd, size)

    def sync(self) -> None:
        """Return when all written bytes, and the length, survive a power failure."""
        if self.durable:
            _sync(self.fd)

    def is_at(self, path: str) -> bool:
        """Whether this file stands at ``path`` now."""
        mine = os.fstat(self.fd)
        try:
            named = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (mine.st_ino, mine.st_dev) == (named.st_ino, named.st_dev)

    def close(self) -> None:
        """Close the descriptor; views that callers have stay good."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # Readers may still hold a file that compaction has replaced: the last reader closes it.
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
    """Make the names in a directory survive a power failure. Syncing a file does not cover its name."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
