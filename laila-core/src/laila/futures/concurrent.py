"""A future of the standard library for a future of laila's.

A failure counts as looked at when somebody asks the standard library's future for it, and not before. This
module is imported by the first who wants such a future.
"""

from __future__ import annotations

from concurrent.futures import Future as ConcurrentFuture
from concurrent.futures import InvalidStateError
from typing import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.futures.base import FutureBase

__all__ = ["to_concurrent"]

T = TypeVar("T")


class _Theirs(ConcurrentFuture[T]):
    """Has the outcome of ``ours``, and keeps that alive: what nobody asked for is told when both go."""

    def __init__(self, ours: FutureBase[T]) -> None:
        super().__init__()
        self._ours = ours

    def result(self, timeout: float | None = None) -> T:
        try:
            return super().result(timeout)
        finally:
            self._look()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return super().exception(timeout)
        finally:
            self._look()

    def _look(self) -> None:
        if self.done() and self._ours._is_settled():
            self._ours._error()


def to_concurrent(future: FutureBase[T]) -> ConcurrentFuture[T]:
    """Return a standard library future with the outcome of ``future``; cancelling it cancels ``future``."""
    theirs = _Theirs(future)

    def pass_on(_future: Any) -> None:
        error = future._error(look=False)
        try:
            if error is None:
                theirs.set_result(future.wait())
            elif future.cancelled():
                theirs.cancel()
                theirs.set_running_or_notify_cancel()
            else:
                theirs.set_exception(error)
        except InvalidStateError:
            if not theirs.cancelled():
                raise

    def cancel(_theirs: ConcurrentFuture[T]) -> None:
        if theirs.cancelled():
            future.cancel()

    theirs.add_done_callback(cancel)
    if not future._listen(pass_on):
        pass_on(future)
    return theirs
