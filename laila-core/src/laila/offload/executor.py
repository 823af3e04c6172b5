"""CallbackExecutor: threads that do small things for a task force, in order, and more while some wait.

A task force whose work is done elsewhere learns of outcomes in threads that it does not own and must not
keep: its engine's. It leaves the rest (unpacking an outcome, settling its future, calling the user's
callbacks) to its hands. One thread is enough until a callback waits for another future: then a second one
takes its place, as with the workers of a thread task force.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Thread

from laila.futures.failure import log_error
from laila.futures.waiting import set_host
from laila.locks import check_free, mutex, starting
from laila.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.futures.task import Task

__all__ = ["CallbackExecutor"]


class _Hand:
    """The host (:class:`laila.futures.waiting.Host`) of one thread's callbacks."""

    def __init__(self, hands: CallbackExecutor) -> None:
        self._callbacks = hands
        self._waits = 0  # more than one when an event loop runs in a callback

    def adopt(self, task: Task, *, force: bool = False) -> bool:
        """False: tasks are done elsewhere."""
        return False

    def block(self) -> bool:
        self._waits += 1
        return self._waits > 1 or self._callbacks.give_up_one()

    def unblock(self) -> None:
        self._waits -= 1
        if self._waits == 0:
            self._callbacks.take_back_one()


class CallbackExecutor:
    """Does what :meth:`call` is given, in order, on daemon threads started when needed. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._free = 0  # threads that do not wait inside of what they do
        self._over = False

    def call(self, fn: Callable[[], object]) -> None:
        """Have ``fn`` called soon, by another thread; what it raises is logged."""
        check_free(starting)
        if self._over:
            self._do(fn)
            return
        self._calls.put(fn)
        if self._free == 0 and not self._grow():
            self._drain()  # no thread can be had, as when the interpreter is on its way out

    def stop(self) -> None:
        """Let the threads go when they have done what they were given."""
        self._over = True
        self._calls.put(None)

    def give_up_one(self) -> bool:
        """Count a thread as waiting; whether another takes its place."""
        with mutex:
            self._free -= 1
        return self._grow()

    def take_back_one(self) -> None:
        """Count it as free again."""
        with mutex:
            self._free += 1

    def _grow(self) -> bool:
        with starting:
            if self._free > 0:
                return True
            thread = Thread(target=self._live, name=f"{self._name}-hand", daemon=True)
            if not start_thread(thread):
                return False
            with mutex:
                self._free += 1
            return True

    def _live(self) -> None:
        set_host(_Hand(self))
        while (fn := self._calls.get()) is not None:
            self._do(fn)
            del fn  # or an idle thread would keep the last outcome
            with mutex:
                if self._free > 1:
                    self._free -= 1
                    return
        self._calls.put(None)  # for the next thread
        with mutex:
            self._free -= 1

    def _drain(self) -> None:
        while True:
            try:
                fn = self._calls.get_nowait()
            except Empty:
                return
            if fn is not None:
                self._do(fn)

    def _do(self, fn: Callable[[], object]) -> None:
        try:
            fn()
        except BaseException as error:  # noqa: BLE001 - after any error the next call is made
            log_error(f"{self._name} failed at its own work", error, error.__traceback__)
