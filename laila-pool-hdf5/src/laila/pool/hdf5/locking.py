"""Locks between processes, with a time limit.

``flock`` belongs to an open file, is given back by the kernel when its process dies, and is what HDF5 itself
takes: plain HDF5 readers are kept out while committed bytes change, and keep this pool out while they are
open.
"""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from laila.errors import PoolLockedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["locked"]

_SHORTEST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.02


@contextmanager
def locked(fd: int, *, exclusive: bool, timeout: float, path: str, what: str) -> Iterator[None]:
    """Hold the lock of the open file ``fd`` for the body.

    Waits up to ``timeout`` seconds (0: not at all), then raises :class:`~laila.errors.PoolLockedError`;
    ``path`` and ``what`` (who is likely to hold it) are for its message.
    """
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    deadline = time.monotonic() + timeout
    pause = _SHORTEST_PAUSE
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                waited = f" for {timeout:g} seconds" if timeout else ""
                raise PoolLockedError(
                    f"{path} is held by {what}{waited}; try again, or open the pool with lock='wait' and a larger "
                    "lock_timeout",
                    pool=path,
                ) from None
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
