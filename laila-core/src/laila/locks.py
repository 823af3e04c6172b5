"""Locks: the two kinds that laila has, and what each promises to code that interrupts its holder.

A signal handler runs between any two steps of the main thread, and a destructor wherever the collector runs.
Either may use laila while the thread that it interrupts holds a lock of laila's. So that nothing waits for
ever, each lock keeps one of two rules:

* *Short*: the one :data:`mutex`, for all that takes a few assignments. No other lock is taken under it, and
  nothing is waited for. It is reentrant. A verb that finds its own thread inside raises
  :class:`~laila.errors.ReentryError` at once.
* *Long*: what :func:`long_lock` makes, for what takes a while: a file, a server, an import. Work of a task
  force is never waited for under it; :func:`check_may_wait` raises the same error.

Both are reentrant locks of the interpreter's own, so that an interrupt never leaves one locked, and a forked
child finds them free.

A call may also interrupt an import that laila makes at first use: the module is half there, and another
thread that needs it waits for the interrupted one. Verbs are refused then, too.

The collector also runs destructors in the threads of networks and engines, which bring what others wait for.
Such a thread says so by :func:`serve_others`, and nothing is waited for in it.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock, _local, get_ident
from _weakrefset import WeakSet
from contextlib import contextmanager

from laila.errors import ReentryError
from laila.forks import after_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn

__all__ = [
    "check_free",
    "check_may_sleep",
    "check_may_use",
    "check_may_wait",
    "long_lock",
    "mutex",
    "no_reentry",
    "refuse_reentry",
    "serve_others",
    "starting",
]

mutex = RLock()
"""The one short lock of this process."""

inside = mutex._is_owned  # type: ignore[attr-defined]  # of the C class, as threading.Condition uses it
"""Whether the calling thread is inside the mutex: some 30 nanoseconds."""

_long: WeakSet[RLock] = WeakSet()


def long_lock() -> RLock:
    """Return a lock for what takes a while; see the module."""
    lock = RLock()
    _long.add(lock)
    return lock


starting = long_lock()
"""Held where a thread is started, since the interpreter does that under a lock that is not entered twice.
Nothing else is taken under it, but the mutex."""

_here = _local()
_closed: set[int] = set()  # threads in which laila may not be used now


@contextmanager
def no_reentry() -> Iterator[None]:
    """Refuse what a destructor does with laila in this thread, which the holder of a lock waits for."""
    _closed.add(get_ident())
    try:
        yield
    finally:
        _closed.discard(get_ident())


def serve_others() -> None:
    """Note that others wait for what the calling thread brings, so that it waits for nothing."""
    _here.serves = True


def check_may_sleep() -> None:
    """Raise :class:`ReentryError` in a thread that called :func:`serve_others`."""
    if getattr(_here, "serves", False):
        raise ReentryError(
            "a destructor, or a callback, would wait in a thread of laila's own, which brings what others "
            "wait for. Let it save without waiting for that, or call it explicitly in a thread of yours"
        )


def check_may_use() -> None:
    """Raise :class:`ReentryError` where the calling thread was interrupted inside the mutex, or an import."""
    if inside() or (_imports and _is_importing()) or get_ident() in _closed:
        refuse_reentry()


def check_may_wait() -> None:
    """Raise :class:`ReentryError` where the calling thread holds a lock that others need to do the work."""
    check_may_use()
    for lock in tuple(_long):
        if lock._is_owned():  # type: ignore[attr-defined]
            refuse_reentry()


# Locks of modules that are being imported, in whichever thread: mostly there is none.
_imports: dict[str, object] = getattr(sys.modules["importlib._bootstrap"], "_module_locks", {})
_INSTALLED = (os.path.dirname(os.__file__), *(path for path in sys.path if "-packages" in path))


def _is_importing() -> bool:
    """Whether the caller interrupts an import of laila's own.

    A module of the user's that is imported, and uses laila where it begins, interrupts nothing.
    """
    frame: FrameType | None = sys._getframe(2)
    above, importing = frame, False
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] == "importlib":
            importing = True
        elif importing and name.partition(".")[0] == "laila" and not _is_users_module(above):
            return True
        else:
            above, importing = frame, False
        frame = frame.f_back
    return False


def _is_users_module(frame: FrameType | None) -> bool:
    if frame is None or frame.f_code.co_name != "<module>":
        return False
    name = str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] != "laila" and not frame.f_code.co_filename.startswith(_INSTALLED)


def check_free(lock: RLock) -> None:
    """Raise :class:`ReentryError` where the calling thread is inside ``lock``, which is not entered twice."""
    if lock._is_owned() or get_ident() in _closed:  # type: ignore[attr-defined]
        refuse_reentry()


def refuse_reentry() -> NoReturn:
    """Raise the error of a call that interrupts one of laila's own."""
    raise ReentryError(
        "a signal handler or a destructor used laila in the midst of a call of laila's in the same thread, "
        "which cannot go on before this one returns: nothing was done. Let the handler raise SystemExit or "
        "set a flag, and call laila outside it"
    )


@after_fork
def _free_all() -> None:
    # Another thread may have held them at the moment of the fork, and that thread is not in the child.
    # The forking thread releases its own locks, in both processes.
    _closed.intersection_update((get_ident(),))
    for lock in (mutex, *_long):
        if not lock._is_owned():  # type: ignore[attr-defined]
            lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does with its own
