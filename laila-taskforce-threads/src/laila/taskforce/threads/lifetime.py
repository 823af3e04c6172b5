"""What happens to worker threads when the interpreter exits or the process forks.

At exit, what was submitted is done before the interpreter goes on with its shutdown. Workers are daemon
threads, so an idle one never keeps a process alive; the work is waited for by two hooks:

* ``threading._register_atexit``, which :mod:`concurrent.futures` relies on too, runs at the end of the main
  thread, while other threads still live, and, unlike ``atexit``, also in the children of
  :mod:`multiprocessing`. It is not public, so that doing without it must work.
* ``atexit`` runs after all non-daemon threads have ended: it finishes what those submitted in the meantime.

From Python 3.12 on, no thread can be started by then. What is submitted so late is done by the workers that
are left, and in the submitting thread when there are none.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress
from weakref import WeakSet

from laila.contract import shown
from laila.errors import TaskForceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.threads.workers import WorkerPool

__all__ = ["watch"]

_PATIENCE = 10.0  # seconds before the user is told what an exit waits for
_PATIENCE_AFTER_INTERRUPT = 0.3

_worker_pools: WeakSet[WorkerPool] = WeakSet()
_given_up = False


def watch(worker_pool: WorkerPool) -> None:
    """See to it that ``worker pool`` finishes its work at exit, and loses its threads in a fork."""
    _worker_pools.add(worker_pool)


def _finish() -> None:
    global _given_up
    if _given_up:
        return
    worked = False
    try:
        # Work of one worker pool may be submitted by another's: until none has any left.
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
        # Errors of nested tasks are in reference cycles; one that nobody looked at is logged when it goes,
        # and once the interpreter is further on, it is too late for that.
        gc.collect()


def _wait_for(worker_pool: WorkerPool) -> None:
    told = False
    # Whoever has just interrupted the program expects it to end, and hears at once why it does not.
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    while others := worker_pool.others():
        others[0].join(_PATIENCE_AFTER_INTERRUPT if interrupted else _PATIENCE)
        if others[0].is_alive() and not told:
            told = True
            _say_what_is_waited_for(worker_pool)
    # Only in a child that a task has forked, and which ends in that task: nobody else is left to do it.
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


def _after_fork() -> None:
    for worker_pool in tuple(_worker_pools):
        error = TaskForceError(
            f"the process was forked while this task of {shown(worker_pool.name)} was under way, and it goes "
            "on in the parent; submit it again in the child if it is needed there"
        )
        for task in worker_pool.lose_threads():
            task.abandon(error)


with suppress(AttributeError, RuntimeError):  # no such hook, or too late for it: atexit alone
    # Its own exit hook must be there before ours: hooks run in reverse order, and after its hook no executor
    # takes work, which tasks that are still to be done may need.
    import concurrent.futures.thread  # noqa: F401

    threading._register_atexit(_finish)  # type: ignore[attr-defined]
atexit.register(_finish)
os.register_at_fork(after_in_child=_after_fork)
