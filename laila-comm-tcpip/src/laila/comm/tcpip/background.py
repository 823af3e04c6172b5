"""The one event loop of a process, shared by all connections: a daemon thread, ended with its last user."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as WaitTimeoutError
from weakref import WeakValueDictionary

from laila.comm.tcpip.workers import Workers
from laila.contract import NO_THREAD, after_fork, locks, start_thread
from laila.errors import PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["Background", "background"]

_WORKERS = 256  # made when needed: so many waiting calls delay no other call
_READERS = 4  # threads that read long texts, so that no waiting call delays that
_JOIN_SECONDS = 2.0
_LAST_TURNS = 100  # of a loop that ends; a task needs a turn for each step of its cleaning up
_STOPPED = "the protocol was stopped meanwhile: nothing is connected; start it, or add it, again"


class Background:
    """A running event loop and its thread. Thread-safe, unless a method says otherwise."""

    def __init__(self) -> None:
        self.workers = Workers(_WORKERS)
        self.readers = Workers(_READERS)
        self.loop = asyncio.new_event_loop()
        self._gate = locks.long_lock()  # between the last calls that are taken and the end
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="laila-peers", daemon=True)
        if not start_thread(self._thread):
            raise PeerError(NO_THREAD)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        locks.serve_others()
        try:
            self.loop.run_forever()
        finally:
            with self._gate:
                self._ended = True
            self._finish_turns()
            self.loop.close()

    def _finish_turns(self) -> None:
        """Run what was taken before the end, and cancel all tasks. A task that refuses to end is left."""
        cancelled: set[asyncio.Task[Any]] = set()  # once each: another time would break off its cleaning up
        for _ in range(_LAST_TURNS):
            for task in (left := asyncio.all_tasks(self.loop)) - cancelled:
                task.cancel()
            cancelled |= left
            self.loop.run_until_complete(asyncio.sleep(0))
            if not asyncio.all_tasks(self.loop):
                break

    @property
    def here(self) -> bool:
        """Whether the caller runs on this loop, and so must not wait for it."""
        return threading.get_ident() == self._thread.ident

    def soon(self, call: Callable[..., object], *args: object) -> bool:
        """Call ``call`` on the loop soon; return False, and do not call it, where the loop has ended."""
        with self._gate:
            if not self._ended:
                self.loop.call_soon_threadsafe(call, *args)
            return not self._ended

    def wait_for(self, work: Coroutine[Any, Any, T], timeout: float | None) -> T:
        """Run a coroutine on the loop and wait for it.

        Raises its error, or ``TimeoutError``, or :class:`PeerError` where the loop ends before the coroutine.
        """
        if self.here:
            work.close()
            raise PeerError(
                "this would wait for the network on the thread that reads it; await the future, or do it "
                "from another thread",
                peer="",
            )
        with self._gate:
            future = None if self._ended else asyncio.run_coroutine_threadsafe(work, self.loop)
        if future is None:
            work.close()
            raise PeerError(_STOPPED, peer="")
        try:
            return future.result(timeout)
        except WaitTimeoutError:
            future.cancel()
            raise
        except CancelledError:
            raise PeerError(_STOPPED, peer="") from None

    def end(self) -> None:
        """End the loop and wait for its thread."""
        self.soon(self.loop.stop)
        if not self.here:
            self._thread.join(_JOIN_SECONDS)


_lock = locks.long_lock()
# By id, since two protocols of one nickname are equal. A protocol that is gone needs nothing any more.
_users: WeakValueDictionary[int, object] = WeakValueDictionary()
_current: Background | None = None
# A forked child leaves the parent's loop untouched: its selector is shared with the parent.
_left_behind: list[Background] = []


def background(user: object) -> Background:
    """Return the loop, started if needed, and add ``user`` to its users."""
    global _current
    with _lock:
        if _current is None:
            _current = Background()
        _users[id(user)] = user
        return _current


def release(user: object) -> None:
    """Remove ``user`` from the users of the loop; the last user ends it."""
    global _current
    with _lock:
        _users.pop(id(user), None)
        if _users or _current is None:
            return
        ended, _current = _current, None
    ended.end()


@after_fork
def _leave_behind() -> None:
    global _current
    _users.clear()
    if _current is not None:
        _left_behind.append(_current)
        _current = None
