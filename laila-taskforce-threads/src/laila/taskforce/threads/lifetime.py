"""Worker threads when the interpreter exits or the process forks.

At exit, submitted work is done before the interpreter goes on with its shutdown. Workers are daemon threads,
so an idle worker never keeps a process alive. Two hooks wait for the work:

* ``threading._register_atexit``, which :mod:`concurrent.futures` relies on too, runs at the end of the main
  thread, while other threads still live. Unlike ``atexit`` it also runs in the children of
  :mod:`multiprocessing`. It is not public, so laila must also work without it.
* ``atexit`` runs after all non-daemon threads have ended: it finishes the work that they submitted meanwhile.

From Python 3.12 on, no thread can start by then. Such late work is done by the remaining workers, or in the
submitting thread if there are none.
"""

from __future__ import annotations

import atexit
import gc
import sys
import threading
from contextlib import suppress

from laila.contract import Renewed, shown
from laila.errors import TaskForceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.threads.workers import WorkerPool

__all__ = ["watch"]

_PATIENCE = 10.0  # seconds until a message says what an exit waits for
_PATIENCE_AFTER_INTERRUPT = 0.3


def _lose_threads(worker_pool: WorkerPool) -> None:
    error = TaskForceError(
        f"the process was forked while this task of {shown(worker_pool.name)} was under way, and it goes "
        "on in the parent; submit it again in the child if it is needed there"
    )
    for task in worker_pool.lose_threads():
        task.abandon(error)


_worker_pools: Renewed[WorkerPool] = Renewed(_lose_threads)
_given_up = False


def watch(worker_pool: WorkerPool) -> None:
    """Let ``worker_pool`` finish its work at exit, and lose its threads in a fork."""
    _worker_pools.add(worker_pool)


def _finish() -> None:
    global _given_up
    if _given_up:
        return
    worked = False
    try:
        # Workers of one pool may submit work to another pool: repeat until no pool has any left.
        while busy := [
            worker_pool
            for worker_pool in tuple(_worker_pools)
            if worker_pool.others() or worker_pool.waiting()
        ]:
            worked = True
            for worker_pool in busy:
                worker_pool.leave()
                worker_pool.resume()
            for worker_pool in busy:
                _wait_for(worker_pool)
    except KeyboardInterrupt:
        _given_up = True  # a second hook must not begin to wait again
        dropped = sum(worker_pool.abandon() for worker_pool in tuple(_worker_pools))
        _log(
            "interrupted at exit: %d tasks that had not started were dropped, and what runs is left", dropped
        )
        return
    if worked:
        # Errors of nested tasks are in reference cycles. An error that nobody looked at is logged when it is
        # collected, and later in the shutdown that would be too late.
        gc.collect()


def _wait_for(worker_pool: WorkerPool) -> None:
    announced = False
    # A user who has just interrupted the program expects it to end, and hears at once why it does not.
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    while others := worker_pool.others():
        others[0].join(_PATIENCE_AFTER_INTERRUPT if interrupted else _PATIENCE)
        if others[0].is_alive() and not announced:
            announced = True
            _say_what_is_waited_for(worker_pool)
    # Only in a child that a task has forked, and which ends in that task: no other thread is left to do it.
    worker_pool.drain_here()


def _say_what_is_waited_for(worker_pool: WorkerPool) -> None:
    under_way = worker_pool.waiting() + sum(len(worker.tasks) for worker in tuple(worker_pool.workers))
    _log(
        "the program has ended, but %d tasks of %s have not: waiting for them (Ctrl-C to give up)",
        under_way,
        worker_pool.name,
    )


def _log(message: str, *values: object) -> None:
    from laila.contract import logger

    logger("laila.taskforce").warning(message, *values)


with suppress(AttributeError, RuntimeError):  # no such hook, or too late for it: atexit alone
    # Its own exit hook must be registered before ours. Hooks run in reverse order, and after its hook no
    # executor takes work, but the remaining tasks may need one.
    import concurrent.futures.thread  # noqa: F401

    threading._register_atexit(_finish)  # type: ignore[attr-defined]
atexit.register(_finish)
