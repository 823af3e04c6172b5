"""What lets a folder be a cache of bounded size, shared by processes without a lock or a daemon.

Who was used when is the access time of each file. The pool sets it itself, at most once a minute for each
entry and process, so that it counts on every mount. Nobody knows what other processes write; each process
counts its own bytes, and looks at the whole folder when these are a twentieth of the bound.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from laila.contract import locks
from laila.pool.files import disk
from laila.pool.files.names import is_long, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from laila.contract import Blob

__all__ = ["LEAST_BYTES", "Bound"]

LEAST_BYTES = 1 << 20
"""The smallest bound."""
_USED_SECONDS = 60.0
_MOST_USES = 100_000
_BLOCK = 4096


class Bound:
    """At most about ``max_bytes`` of files: room is made by deleting what was used least recently.

    Thread-safe. What is being written is in another folder, and is not looked at.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.evictions = 0
        self._lock = locks.long_lock()
        self._nbytes: int | None = None  # as of the last look, and what this process wrote since
        self._written = 0
        self._uses: dict[str, float] = {}

    def used(self, path: str) -> None:
        """Note that the entry of a file was read."""
        now = monotonic()
        last = self._uses.get(path)
        if last is not None and now - last < _USED_SECONDS:
            return
        if len(self._uses) >= _MOST_USES:
            self._uses.clear()
        self._uses[path] = now
        with suppress(OSError):  # it went meanwhile, or this user may only read
            disk.note_access(path, time_ns())

    def parts(self, items: Sequence[tuple[str, Blob]]) -> Iterator[list[tuple[str, Blob]]]:
        """Divide what is to be written into parts of an eighth of the bound, or of one larger blob."""
        part: list[tuple[str, Blob]] = []
        room = self.max_bytes // 8
        for item in items:
            nbytes = item[1].nbytes
            if part and nbytes > room:
                yield part
                part, room = [], self.max_bytes // 8
            part.append(item)
            room -= nbytes
        if part:
            yield part

    def make_room(self, nbytes: int, folders: Callable[[], Iterable[str]]) -> int:
        """Delete what was used least recently until ``nbytes`` more fit; return how many entries went.

        Args:
            nbytes: How many bytes are about to be written.
            folders: Lists the folders with entries; called where they must be looked at.
        """
        with self._lock:
            self._written += nbytes
            if self._nbytes is not None:
                self._nbytes += nbytes
                if self._nbytes <= self.max_bytes and self._written < self.max_bytes // 20:
                    return 0
            files = sorted(_files(folders()))
            total = sum(size for _, size, _ in files) + nbytes
            gone = 0
            if total > self.max_bytes:
                allowed = max(self.max_bytes - self.max_bytes // 10, 0)  # so that not every entry lets one go
                for _, size, path in files:
                    if total <= allowed:
                        break
                    gone += disk.remove(path)  # unless another process was quicker
                    total -= size
            self._nbytes, self._written = total, 0
            self.evictions += gone
            return gone


def _files(folders: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Give for each file of an entry when it was used, its bytes, and its path."""
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
            for file in found:
                with suppress(FileNotFoundError):
                    status = file.stat(follow_symlinks=False)
                    is_ours = is_long(file.name) or key_of(file.name) is not None
                    if is_ours and file.is_file(follow_symlinks=False):
                        yield status.st_atime_ns, -(-status.st_size // _BLOCK) * _BLOCK, file.path
