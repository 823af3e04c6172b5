"""Threads for work that must not delay the event loop: large decoding, calls that may wait, callbacks.

They are daemons, so a call that never ends keeps no process alive. They come and go as needed.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from laila.contract import NO_THREAD, locks, start_thread
from laila.errors import PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Workers"]

_IDLE_SECONDS = 5.0


class Workers:
    """At most ``most`` threads, made when there is work. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._threads = 0
        self._spare = 0  # idle threads, less the work that none of them has taken

    def submit(self, work: Callable[[], object]) -> None:
        """Let a thread do ``work``, which must not raise."""
        self._work.put(work)
        with locks.mutex:
            self._spare -= 1
            if self._spare >= 0 or self._threads >= self._most:
                return
            self._threads += 1
        try:
            if not start_thread(Thread(target=self._run, name="laila-peers-worker", daemon=True)):
                raise PeerError(NO_THREAD)
        except BaseException:
            with locks.mutex:
                self._threads -= 1
            raise

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work

    def _next(self) -> Callable[[], object] | None:
        """Wait for work; return None if the thread should end."""
        with locks.mutex:
            self._spare += 1
        with suppress(Empty):
            return self._work.get(timeout=_IDLE_SECONDS)
        with locks.mutex:
            with suppress(Empty):
                return self._work.get_nowait()  # its submitter counted on this thread
            self._spare -= 1
            self._threads -= 1
        return None
