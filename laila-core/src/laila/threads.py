"""start_thread(): the one way to start a thread. An exception of a signal handler leaves nothing half done.

``Thread.start`` keeps its books in Python. When a signal handler raises between two of its steps, the new
thread may end at once (a ``KeyError`` in ``_bootstrap_inner``), or the exception may be replaced by another
("release unlocked lock"). Signal handlers run in the main thread alone. So a raw thread, which one C call
begins, starts what the main thread wants started.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident, start_new_thread
from threading import main_thread

from laila.locks import no_reentry, starting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

__all__ = ["NO_THREAD", "start_thread"]

NO_THREAD = (
    "no thread can be started: the limit of threads is reached (ulimit -u, or the container's), or the "
    "program is ending"
)
"""The words of an error where :func:`start_thread` returned False."""


def start_thread(thread: Thread) -> bool:
    """Start a thread. Blocks until it runs, and holds :data:`laila.locks.starting` meanwhile.

    Args:
        thread: The thread. It starts also if a signal handler raises meanwhile.

    Returns:
        Whether it runs: False where the system, or an interpreter that shuts down, starts no more threads.
    """
    with starting:
        return _start(thread) if get_ident() != main_thread().ident else _start_elsewhere(thread)


def _start_elsewhere(thread: Thread) -> bool:
    outcome: list[bool] = []
    done = allocate_lock()
    done.acquire()

    def start() -> None:
        try:
            outcome.append(_start(thread))
        finally:
            done.release()

    try:
        start_new_thread(start, ())
    except RuntimeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # not the interpreter's, but a signal handler's
        return False
    done.acquire()
    return bool(outcome and outcome[0])


def _start(thread: Thread) -> bool:
    with no_reentry():  # a destructor that the collector runs here would start a thread within the start
        try:
            thread.start()
        except RuntimeError:
            return False
    return True
