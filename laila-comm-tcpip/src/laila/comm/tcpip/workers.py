"""Threads for what must not hold up the event loop: decoding what is large, calls that may wait, callbacks.

They are daemons, so that a call that never ends keeps no process from ending, and come and go as needed.
"""

from __future__ import annotations

from collections import deque
from threading import Condition, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Workers"]

_IDLE_SECONDS = 5.0


class Workers:
    """At most ``most`` threads, made when there is work. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: deque[Callable[[], object]] = deque()
        self._changed = Condition()
        self._idle = 0
        self._threads = 0

    def submit(self, work: Callable[[], object]) -> None:
        """Have ``work`` done, which raises nothing."""
        with self._changed:
            self._work.append(work)
            if self._idle >= len(self._work):
                self._changed.notify()
                return
            if self._threads >= self._most:
                return
            self._threads += 1
        Thread(target=self._run, name="laila-peers-worker", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._work:
                    self._idle += 1
                    self._changed.wait(_IDLE_SECONDS)
                    self._idle -= 1
                if not self._work:
                    self._threads -= 1
                    return
                work = self._work.popleft()
            work()
            del work
