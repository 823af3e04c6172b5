"""The time limits of all calls of one connection, under one timer of the event loop: for the nearest limit.

Most calls end long before their limit, so one timer for each would be wasted.
"""

from __future__ import annotations

from typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Deadlines"]

K = TypeVar("K")


class Deadlines(Generic[K]):
    """The time limits of calls; ``too_late`` gets each call whose time is up. Belongs to ``loop``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, too_late: Callable[[K], object]) -> None:
        self._loop = loop
        self._too_late = too_late
        self._moments: dict[K, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False

    def add(self, call: K, seconds: float) -> None:
        """Give ``call`` so many seconds from now."""
        moment = self._moments[call] = self._loop.time() + seconds
        if self._timer is None or moment < self._timer.when():
            self._set(moment)

    def discard(self, call: K) -> None:
        """Forget a call that is over. The timer stays for the next call."""
        self._moments.pop(call, None)
        if self._ending:
            self.end()

    def end(self) -> None:
        """No call will come any more: the timer ends with the last remaining call."""
        self._ending = True
        if not self._moments:
            self._set(None)

    def _set(self, moment: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if moment is None else self._loop.call_at(moment, self._ring, moment)

    def _ring(self, moment: float) -> None:
        now = max(self._loop.time(), moment)  # the loop may be early by the resolution of its clock
        late = [call for call, until in self._moments.items() if until <= now]
        for call in late:
            del self._moments[call]
        self._set(min(self._moments.values(), default=None))
        for call in late:
            self._too_late(call)
