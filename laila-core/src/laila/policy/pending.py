"""Writes that wait: a bound on the memory that snapshots take before a task force gets to them."""

from __future__ import annotations

import os
from collections import deque
from threading import Lock
from weakref import WeakSet

from laila.errors import SettingsError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from laila.futures import Future, GroupFuture
    from laila.policy.command import DefaultCentralCommand

    Write: TypeAlias = Future[Any] | GroupFuture[Any]

__all__ = ["MAX_PENDING_BYTES", "PendingWrites"]

MAX_PENDING_BYTES = 256 * 1024 * 1024
_LOOK_SECONDS = 0.5  # how long to wait before looking whether the task force was paused

_every: WeakSet[PendingWrites] = WeakSet()


class PendingWrites:
    """The writes under way, oldest first, and how many bytes of snapshots they hold.

    A loop that memorizes faster than its pool writes would fill the memory; it is held back instead.
    Thread-safe.
    """

    def __init__(self, limit: int) -> None:
        if type(limit) is not int or limit < 1:
            raise SettingsError(
                f"max_pending_bytes={shown(limit)}: give a whole number of bytes, 1 or more",
                option="max_pending_bytes",
            )
        self.limit = limit
        self._begin()
        _every.add(self)

    def _begin(self) -> None:
        """Count from nothing; again in a forked child, where the parent's writes never settle."""
        self._lock = Lock()
        self._writes: deque[tuple[Write, int]] = deque()
        self._bytes = 0

    def add(self, write: Write, size: int) -> None:
        """Count a write that was just submitted."""
        with self._lock:
            self._writes.append((write, size))
            self._bytes += size

    def make_room(self, size: int, command: DefaultCentralCommand) -> None:
        """Wait for the oldest writes until ``size`` more bytes are within the limit, or nothing is under way.

        A command that is paused keeps nobody waiting: its work is to queue.
        """
        while (oldest := self._oldest(size)) is not None and not command.paused:
            oldest._block(_LOOK_SECONDS, note=False)

    def _oldest(self, size: int) -> Write | None:
        """Drop what has settled; return the write to wait for, or None where there is room."""
        with self._lock:
            while self._writes and self._writes[0][0]._is_settled():
                self._bytes -= self._writes.popleft()[1]
            full = self._writes and self._bytes + size > self.limit
            return self._writes[0][0] if full else None


def _after_fork() -> None:
    for pending in list(_every):
        pending._begin()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_after_fork)
