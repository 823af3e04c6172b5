"""Writes that wait: a bound on the memory that snapshots take before a task force gets to them."""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from itertools import count
from time import sleep

from laila.errors import SettingsError
from laila.forks import Renewed
from laila.futures.base import wait_settled
from laila.futures.loops import loop_is_held_up
from laila.locks import mutex
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from laila.central.command import DefaultCentralCommand
    from laila.futures import Future, GroupFuture

    Write: TypeAlias = Future[Any] | GroupFuture[Any]

__all__ = ["MAX_PENDING_BYTES", "PendingWrites", "Place"]

MAX_PENDING_BYTES = 256 * 1024 * 1024
_LOOK_SECONDS = 0.5  # how long to wait before looking whether the task force was paused
_BREATH = 0.001

_every: Renewed[PendingWrites] = Renewed(lambda pending: pending._begin())


class Place:
    """The part of the bound that one write takes, from before its submission until its end."""

    __slots__ = ("_of", "number", "size")

    def __init__(self, of: PendingWrites, number: int, size: int) -> None:
        self._of = of
        self.number = number
        self.size = size

    def give_back(self) -> None:
        """Say that the write has ended, or will never begin. Again: nothing."""
        self._of.give_back(self.number)


class PendingWrites:
    """The writes under way, oldest first, and how many bytes of snapshots they hold.

    A loop that memorizes faster than its pool writes would fill the memory. Its thread is held back; an event
    loop is not, since that would hold back all that runs in it: there the write itself waits, and who awaits
    its future. Thread-safe.
    """

    def __init__(self, limit: int) -> None:
        if type(limit) is not int or limit < 1:
            raise SettingsError(
                f"max_pending_bytes={shown(limit)}: give a whole number of bytes, 1 or more",
                option="max_pending_bytes",
            )
        self.limit = limit
        self._numbers = count()
        self._begin()
        _every.add(self)

    def _begin(self) -> None:
        """Count from nothing; again in a forked child, where the parent's writes never settle."""
        self._writes: dict[int, tuple[int, Write | None]] = {}
        self._bytes = 0
        self._queue: deque[tuple[Place, Callable[[], None]]] = deque()  # those that wait for room
        self._going: set[int] = set()  # the threads that submit some of them

    def place(self, size: int) -> Place:
        """Return a place for ``size`` bytes, for :meth:`take` or :meth:`queue`."""
        return Place(self, next(self._numbers), size)

    def take(self, place: Place, command: DefaultCentralCommand) -> bool:
        """Wait for the oldest writes until there is room, and take it.

        False in an event loop, where there is no room: see :meth:`queue`. A command that is paused keeps
        nobody waiting: its work is to queue.
        """
        while not self._take(place, force=command.paused):
            if loop_is_held_up():
                return False
            oldest = self._oldest()
            if oldest is None:
                sleep(_BREATH)  # they are being submitted at this moment
            else:
                wait_settled(oldest, _LOOK_SECONDS)
        return True

    def _take(self, place: Place, *, force: bool = False) -> bool:
        with mutex:
            # Those that wait in an event loop came first.
            if not force and (self._queue or (self._writes and self._bytes + place.size > self.limit)):
                return False
            self._writes[place.number] = place.size, None
            self._bytes += place.size
            return True

    def _oldest(self) -> Write | None:
        with mutex:
            return next((write for _, write in self._writes.values() if write is not None), None)

    def queue(self, place: Place, submit: Callable[[], None]) -> None:
        """Have ``submit()`` called when there is room, in its turn."""
        with mutex:
            self._queue.append((place, submit))
        self._go_on()

    def began(self, place: Place, write: Write) -> None:
        """Say which future the write with this place has, for others to wait for."""
        with mutex:
            if place.number in self._writes:
                self._writes[place.number] = place.size, write

    def finish(self) -> None:
        """Submit all that waits for room, whatever the bound: no more is to come."""
        self._go_on(force=True)

    def give_back(self, number: int) -> None:
        """Say that a write has ended; see :meth:`Place.give_back`."""
        with mutex:
            gone = self._writes.pop(number, None)
            if gone is not None:
                self._bytes -= gone[0]
        del gone  # what goes with it may run code
        if self._queue:
            self._go_on()

    def _go_on(self, *, force: bool = False) -> None:
        me = get_ident()
        if me in self._going:  # a write that was done in the submitting thread has ended: that one goes on
            return
        self._going.add(me)
        try:
            while True:
                with mutex:
                    if not self._queue:
                        return
                    place, submit = self._queue[0]
                    if self._writes and self._bytes + place.size > self.limit and not force:
                        return
                    self._queue.popleft()
                    self._writes[place.number] = place.size, None
                    self._bytes += place.size
                submit()
                del submit
        finally:
            self._going.discard(me)
