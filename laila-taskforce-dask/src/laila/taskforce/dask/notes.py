"""What was done on this host: notes that outlive the worker processes that made them.

Each task has a file in a folder of the user's. It is made before the task starts, and gets the outcome when
it ends, unless that is large. The system keeps what was written also when the process is killed right after,
so that a task that comes again, because its worker died, is known to have started here, or to be done.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import tempfile
import time
from collections import deque
from pathlib import Path
from threading import Lock

__all__ = ["Notes", "read_note"]

_DAY = 24 * 3600
_LARGEST = 1 << 20  # bytes of an outcome that is noted
_KEPT = 64 << 20  # bytes of outcomes that a process keeps
_DONE = b"done"


def _folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"laila-dask-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise PermissionError(f"{folder} belongs to somebody else, who could forge what tasks have done")
    return folder


def _path(folder: Path, key: str) -> Path:
    return folder / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def read_note(key: str) -> bytes | None:
    """Return the outcome of a task that was begun on this host, empty where none is known; else None."""
    try:
        note = _path(_folder(), key).read_bytes()
    except FileNotFoundError:
        return None
    # One that was cut short by the end of its process is none.
    size = int.from_bytes(note[4:12], "big")
    return note[12:] if note[:4] == _DONE and len(note) == 12 + size else b""


class Notes:
    """The notes of this process. Thread-safe. Those of old tasks go, the oldest first."""

    def __init__(self) -> None:
        self._folder = _folder()
        self._lock = Lock()
        self._kept: deque[tuple[Path, int]] = deque()
        self._bytes = 0
        for old in self._folder.iterdir():
            try:
                if time.time() - old.stat().st_mtime > _DAY:
                    old.unlink()
            except FileNotFoundError:
                continue  # another process has removed it
        atexit.register(self._remove_all)

    def begin(self, key: str) -> None:
        """Note that the task ``key`` begins now."""
        os.close(os.open(_path(self._folder, key), os.O_WRONLY | os.O_CREAT, 0o600))

    def end(self, key: str, outcome: bytes) -> None:
        """Note what came of it."""
        path = _path(self._folder, key)
        size = 0
        if len(outcome) <= _LARGEST:
            size = path.write_bytes(_DONE + len(outcome).to_bytes(8, "big") + outcome)
        with self._lock:
            self._kept.append((path, size + 4096))  # a file takes a block, whatever is in it
            self._bytes += size + 4096
            old = []
            while self._bytes > _KEPT:
                one, freed = self._kept.popleft()
                self._bytes -= freed
                old.append(one)
        for one in old:
            one.unlink(missing_ok=True)

    def _remove_all(self) -> None:
        for path, _ in list(self._kept):
            path.unlink(missing_ok=True)
