"""Waiting inside a task: how a worker thread waits without taking a worker away.

A worker that waits for a future runs that very future itself when nobody has started it, and otherwise tells
its task force that it is blocked, so that another thread can take its place. Running *any* queued task
instead would recurse without end and can deadlock on the caller's own locks, so that is never done.

A task force that has threads of its own sets :func:`set_host` on each of them; on all other threads a wait
simply blocks.
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX, _local

from laila.errors import InvalidArgumentError, InvalidValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from laila.futures.task import Task

    class Host(Protocol):
        """The worker that a thread belongs to."""

        def adopt(self, task: Task, *, force: bool = False) -> bool:
            """Run ``task`` here and now if it may and nobody has started it; say whether it was run.

            ``force`` leaves the limit on nesting aside. May raise an error where ``task`` is under way on
            this very thread, and would be waited for in vain.
            """

        def block(self) -> bool:
            """Say that this thread is about to wait; False when no other thread could take its place."""

        def unblock(self) -> None:
            """Say that the wait is over. Called once for each :meth:`block`, perhaps from another thread."""


__all__ = [
    "blocked",
    "check_timeout",
    "current_host",
    "deadline_in",
    "seconds_left",
    "set_host",
    "threads_that_wait",
]


class _ThisThread(_local):
    host: Host | None = None


_this_thread = _ThisThread()

threads_that_wait: set[int] = set()
"""The threads that block at this moment until a task has been done."""


def current_host() -> Host | None:
    """Return what takes the place of this thread while it waits.

    Returns:
        The host that :func:`set_host` declared for this thread, or None.
    """
    return _this_thread.host


def set_host(host: Host | None) -> None:
    """Declare what takes the place of this thread while it waits.

    Args:
        host: The host, or None for a thread that belongs to no task force.
    """
    _this_thread.host = host


class blocked:  # noqa: N801 - used as a function, and cheaper than a generator
    """``with blocked(host) as replaced:`` around a wait; ``replaced``: work goes on without this thread."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    def __enter__(self) -> bool:
        return self._host.block()

    def __exit__(self, *_: object) -> None:
        self._host.unblock()


def check_timeout(timeout: float | None) -> float | None:
    """Return ``timeout`` as non-negative seconds, or None for no limit.

    Raises ``TypeError`` for what is no number and ``ValueError`` for NaN. A number too large for the system's
    clock is no limit.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, int | float):
        raise InvalidArgumentError(f"timeout is a number of seconds or None, not {type(timeout).__name__}")
    if timeout != timeout:
        raise InvalidValueError("timeout is a number of seconds or None, not NaN")
    return None if timeout > TIMEOUT_MAX else max(timeout, 0)


def seconds_left(deadline: float | None) -> float | None:
    """Return the seconds until ``deadline`` (of ``time.monotonic``), never negative; None for no deadline."""
    if deadline is None:
        return None
    from time import monotonic

    return max(deadline - monotonic(), 0)


def deadline_in(timeout: float | None) -> float | None:
    """Return the moment of ``time.monotonic`` that lies ``timeout`` seconds ahead; None for no limit."""
    timeout = check_timeout(timeout)
    if timeout is None:
        return None
    from time import monotonic

    return monotonic() + timeout
