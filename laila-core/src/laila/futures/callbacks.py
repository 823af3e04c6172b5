"""Callbacks: who is told when a future starts, times out or settles.

Users add callbacks for one status each; the modules beside this one listen for the end, whatever it is. Both
are in one list, so that a future nobody listens to carries nothing but a None.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from laila.errors import InvalidArgumentError
from laila.futures.base import FutureBase
from laila.futures.failure import log_error
from laila.futures.states import FINISHED, FutureStatus
from laila.locks import mutex
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Listener = Callable[[Any], object]

__all__ = ["Callback", "WithCallbacks"]

T_co = TypeVar("T_co", covariant=True)


class Callback:
    """A callback that somebody wants called when the future reaches one status."""

    __slots__ = ("fn", "status")

    def __init__(self, status: FutureStatus, fn: Listener) -> None:
        self.status = status
        self.fn = fn


class WithCallbacks(FutureBase[T_co]):
    """The part of a future that keeps and calls its listeners."""

    __slots__ = ("_listeners", "_state")

    _state: int
    _listeners: list[Listener | Callback] | None

    @abstractmethod
    def _passed(self, status: FutureStatus) -> bool:
        """Whether this future has, or had, the status ``status``."""

    def add_callback(self, status: FutureStatus | str, fn: Listener) -> None:
        """Have a function called once when the future reaches a status, or now if it has reached it before.

        Callbacks are called in the order of adding, in the thread that settles the future. An
        error in a callback is logged and changes nothing else.

        Args:
            status: The status.
            fn: Takes the future.

        Raises:
            InvalidArgumentError: ``fn`` is not callable (a ``TypeError``).
        """
        callback = Callback(FutureStatus(status), fn)
        if not callable(fn):
            raise InvalidArgumentError(f"a callback is a callable that takes the future, not {shown(fn)}")
        fresh: list[Listener | Callback] = [callback]
        with mutex:
            passed = self._passed(callback.status)
            settled = self._state >= FINISHED
            if not passed and not settled:
                if self._listeners is None:
                    self._listeners = fresh
                else:
                    self._listeners.append(callback)
        if passed:
            self._call(fn)

    def remove_callback(self, status: FutureStatus | str, fn: Listener) -> bool:
        """Take back a callback that has not been called.

        Args:
            status: The status that it was added for.
            fn: The function that was added.

        Returns:
            Whether there was one.
        """
        return bool(self._take(FutureStatus(status), fn))

    def clear_callbacks(self, status: FutureStatus | str) -> None:
        """Take back all callbacks for a status that have not been called.

        Args:
            status: The status.
        """
        self._take(FutureStatus(status))

    def clear_all_callbacks(self) -> None:
        """Take back all callbacks that have not been called."""
        for status in FutureStatus:
            self._take(status)

    def trigger_callback(self, status: FutureStatus | str) -> None:
        """Call the callbacks for a status now, and never again.

        Args:
            status: The status.
        """
        for callback in self._take(FutureStatus(status)):
            self._call(callback.fn)

    def _take(self, status: FutureStatus, fn: Listener | None = None) -> list[Callback]:
        """Remove and return the callbacks for ``status`` (those that are ``fn``, if given)."""
        with mutex:
            if self._listeners is None:
                return []
            taken: list[Callback] = []
            kept: list[Listener | Callback] = []
            for listener in self._listeners:
                if (
                    isinstance(listener, Callback)
                    and listener.status is status
                    and (fn is None or listener.fn == fn)
                ):
                    taken.append(listener)
                else:
                    kept.append(listener)
            self._listeners = kept or None
        return taken

    def _call(self, listener: Listener) -> None:
        try:
            listener(self)
        except BaseException as error:  # noqa: BLE001 - whatever a callback raises must hurt nobody
            log_error(f"a callback of {self!r} raised", error, error.__traceback__)

    def _listen(self, listener: Listener, *, first: bool = False) -> bool:
        """Have ``listener(self)`` called when this settles; False, and nothing is called, when it has.

        ``first``: before all others, for a listener that wakes a thread up and runs nothing else. A callback
        may wait for the very thread that sleeps here.
        """
        fresh: list[Listener | Callback] = [listener]
        with mutex:
            if self._state >= FINISHED:
                return False
            if self._listeners is None:
                self._listeners = fresh
            elif first:
                self._listeners.insert(0, listener)
            else:
                self._listeners.append(listener)
            return True

    def _unlisten(self, listener: Listener) -> None:
        """Take back what :meth:`_listen` was given, if it has not been called."""
        with mutex:
            if self._listeners is not None and listener in self._listeners:
                self._listeners.remove(listener)
