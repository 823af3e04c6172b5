"""Notes of the tasks on this host, which outlive the worker processes that wrote them.

Each task has a file in a folder of this user alone. It is made before the task starts, and gets the outcome
when the task ends, unless that is large. The system keeps written bytes also when the process is killed right
after. So if a task comes again because its worker died, the note says whether it has started here, or is
done.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import tempfile
import time
from collections import deque
from contextlib import suppress

from laila.contract import locks, private_folder

__all__ = ["Notes", "read_note"]

_DAY = 24 * 3600
_LARGEST = 1 << 20  # bytes of the largest outcome that is noted
_KEPT = 64 << 20  # bytes of outcomes that a process keeps
_DONE = b"done"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_is_note = re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch


def _folder() -> int:
    return private_folder(os.path.join(tempfile.gettempdir(), f"laila-dask-{os.getuid()}"))


def _name(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def read_note(key: str) -> bytes | None:
    """Return the outcome of a task that began on this host, empty if it is unknown; None for other tasks."""
    folder = _folder()
    try:
        fd = os.open(_name(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)
    with open(fd, "rb") as file:
        note = file.read()
    # A file that the end of its process cut short holds no outcome.
    size = int.from_bytes(note[4:12], "big")
    return note[12:] if note[:4] == _DONE and len(note) == 12 + size else b""


class Notes:
    """The notes of this process. Thread-safe. Notes of old tasks are deleted, the oldest first."""

    def __init__(self) -> None:
        self._folder = _folder()
        self._kept: deque[tuple[str, int]] = deque()
        self._bytes = 0
        for old in filter(_is_note, os.listdir(self._folder)):
            with suppress(FileNotFoundError):  # another process has removed it
                if time.time() - os.lstat(old, dir_fd=self._folder).st_mtime > _DAY:
                    os.unlink(old, dir_fd=self._folder)
        atexit.register(self._remove_all)

    def begin(self, key: str) -> None:
        """Note that the task ``key`` begins now."""
        os.close(os.open(_name(key), _NEW, 0o600, dir_fd=self._folder))

    def end(self, key: str, outcome: bytes) -> None:
        """Note the outcome."""
        name = _name(key)
        size = 0
        if len(outcome) <= _LARGEST:
            with open(os.open(name, _NEW | os.O_TRUNC, 0o600, dir_fd=self._folder), "wb") as file:
                size = file.write(_DONE + len(outcome).to_bytes(8, "big") + outcome)
        with locks.mutex:
            self._kept.append((name, size + 4096))  # a file takes at least one block
            self._bytes += size + 4096
            old = []
            while self._bytes > _KEPT:
                expired, freed = self._kept.popleft()
                self._bytes -= freed
                old.append(expired)
        for expired in old:
            self._remove(expired)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def _remove_all(self) -> None:
        for name, _ in list(self._kept):
            self._remove(name)
