"""The end of a policy: who may begin anew after it, and what is left for those who come late.

When the active policy has been closed, a next use builds another one, whose pool is empty and in memory. That
is right for the flow that closed it, and wrong for a thread, a coroutine or an exit handler that goes on as
before: it would be told that something is stored, which nobody finds again. So

* only the flow that closed it goes on with another one, and so do threads that begin after that flow has,
  or after a policy that was in memory, too. All others are refused
  (:class:`~laila.errors.PolicyClosedError`) until somebody says where to store: ``laila.alpha_pool = …`` or
  ``laila.active_policy = …``. A task or a thread that closed it is one of them;
* at the end of the program nothing is built at all. An exit handler that runs after laila's own gets the old
  pools, opened again.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextvars import ContextVar
from weakref import WeakSet

from laila.errors import PolicyClosedError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from laila.policy import DefaultPolicy

__all__ = [
    "begin_anew",
    "check_new_use",
    "exiting",
    "has_ended",
    "keep_for_exit",
    "note_end",
    "policy_at_exit",
    "tell_the_interrupted",
]

_ends = 0
_begun = 0  # the end after which new threads may go on with another policy
_old_threads: WeakSet[Thread] = WeakSet()
_closer: ContextVar[int] = ContextVar("laila_closer", default=0)
_interrupted = False  # a signal handler ended the policy, and the main thread does not know
_reopen: Callable[[], DefaultPolicy] | None = None
_late: DefaultPolicy | None = None


def note_end(*, in_task: bool = False, lasting: bool = False) -> None:
    """Note that the active policy ends now, and that this flow ends it.

    A signal handler is no such flow, nor is a task, nor another thread than the main one: what they
    interrupt, or stand beside, goes on as before.
    ``lasting`` says that a pool of the policy outlives it.
    """
    global _begun, _ends, _interrupted
    _ends += 1
    if not lasting:
        _begun = _ends
    _old_threads.update(_threads())
    if _in_signal_handler():
        _interrupted = True
    elif not (exiting() or in_task or (lasting and _in_other_thread())):
        _closer.set(_ends)


def tell_the_interrupted() -> None:
    """Raise :class:`PolicyClosedError` in the main thread, once, where a signal handler ended its policy."""
    global _interrupted
    if _interrupted and threading.current_thread() is threading.main_thread():
        _interrupted = False
        raise PolicyClosedError(
            "a signal handler closed the policy (laila.terminate()) and its pools: nothing was done. "
            "To go on, say where to store: laila.alpha_pool = …"
        )


def _in_other_thread() -> bool:
    return threading.current_thread() is not threading.main_thread()


def begin_anew() -> None:
    """Note that somebody says where to store from now on."""
    global _interrupted
    _interrupted = False


def _threads() -> list[Thread]:
    """The threads that are alive; without the lock of ``threading.enumerate``, held while one starts."""
    active = getattr(threading, "_active", None)
    if active is None:
        return threading.enumerate()
    while True:
        try:
            return list(active.values())
        except RuntimeError:  # one has just begun or ended
            continue


def has_ended() -> bool:
    """Whether a policy was active in this process, and ended."""
    return _ends > 0


def check_new_use() -> None:
    """Raise :class:`PolicyClosedError` for a flow that goes on as if its policy had not ended."""
    global _begun
    if _closer.get() == _ends:
        _begun = _ends
        return
    if _begun == _ends and threading.current_thread() not in _old_threads:
        return
    raise PolicyClosedError(
        "the policy that was used here has been closed (laila.terminate()), and its pools with it: nothing "
        "was done. Say where to store from now on: laila.alpha_pool = …, or laila.active_policy = "
        "laila.DefaultPolicy()"
    )


def _in_signal_handler() -> bool:
    """Whether this runs, as far as can be told, in a handler that interrupted the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = set()
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        handler = getattr(handler, "__func__", handler)
        if (code := getattr(handler, "__code__", None)) is not None:
            handlers.add(code)
    handlers.discard(getattr(signal.default_int_handler, "__code__", None))
    frame = sys._getframe() if handlers else None
    while frame is not None:
        if frame.f_code in handlers:
            return True
        frame = frame.f_back
    return False


# ------------------------------------------------------------------------------------------ the program's end


def exiting() -> bool:
    """Whether the program is at its end: its main thread has done its work, and exit handlers run."""
    return sys.is_finalizing() or not threading.main_thread().is_alive()


def keep_for_exit(reopen: Callable[[], DefaultPolicy]) -> None:
    """Say how the active policy, which laila's exit hook closes now, is opened again for later handlers."""
    global _reopen
    _reopen = reopen


def policy_at_exit() -> DefaultPolicy:
    """Return what an exit handler acts through when the policy has been closed: its pools, opened again.

    Raises :class:`PolicyClosedError` for all others, and where that cannot be.
    """
    global _late
    if _late is not None and not _late.closed:
        return _late
    if (
        _reopen is None
        or _late is not None
        or sys.is_finalizing()
        or threading.current_thread() is not threading.main_thread()
    ):
        raise PolicyClosedError(
            "the program ends, and its policy was closed: nothing was done. Memorize before that, or in an "
            "exit handler (atexit) of the main thread"
        )
    try:
        _late = _reopen()
    except Exception as error:
        raise PolicyClosedError(
            f"the program ends, its policy was closed, and its pools do not open again: {said(error)}"
        ) from error
    return _late
