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
