"""The tasks of remote task forces when the interpreter exits or the process forks.

At exit, what was submitted is done before the interpreter goes on with its shutdown, and engines are ended:

* ``threading._register_atexit`` runs at the end of the main thread, while all engines still live. It is not
  public, so that doing without it must work.
* ``atexit`` runs later: it does what was submitted in the meantime, and ends the engines.
"""

from __future__ import annotations

import atexit
import sys
import threading
from contextlib import suppress

from laila.forks import Renewed
from laila.futures.base import wait_settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.offload.taskforce import RemoteTaskForce

__all__ = ["watch"]

_PATIENCE = 10.0  # seconds before the user is told what an exit waits for
_PATIENCE_AFTER_INTERRUPT = 0.3

_taskforces: Renewed[RemoteTaskForce] = Renewed(lambda taskforce: taskforce.after_fork())
_hooked = False
_given_up = False


def watch(taskforce: RemoteTaskForce) -> None:
    """Let ``taskforce`` finish its work at exit, and begin anew in a fork.

    Called when the engine's library was imported, and so after its own hooks were registered: hooks run in
    reverse.
    """
    global _hooked
    _taskforces.add(taskforce)
    if not _hooked:
        _hooked = True
        with suppress(AttributeError, RuntimeError):  # no such hook, or too late for it: atexit alone
            threading._register_atexit(_finish)  # type: ignore[attr-defined]
        atexit.register(_end)


def _finish() -> None:
    global _given_up
    try:
        # Work of one may be submitted by another's: until none has any left.
        while not _given_up and (busy := [taskforce for taskforce in _taskforces if taskforce.under_way()]):
            for taskforce in busy:
                taskforce._resume()
                _wait_for(taskforce)
    except KeyboardInterrupt:
        _given_up = True
        ends = [taskforce.give_up() for taskforce in _taskforces]
        _log(
            "interrupted at exit: %d tasks that had not started were dropped, and %d that had were "
            "broken off",
            sum(dropped for dropped, _ in ends),
            sum(broken for _, broken in ends),
        )


def _wait_for(taskforce: RemoteTaskForce) -> None:
    # A user who has just interrupted the program expects it to end, and hears at once why it does not.
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    patience: float | None = _PATIENCE_AFTER_INTERRUPT if interrupted else _PATIENCE
    for parcel in taskforce.under_way():
        if not wait_settled(parcel.task.future, patience):
            _log(
                "the program has ended, but %d tasks of %s have not: waiting for them (Ctrl-C to give up)",
                len(taskforce.under_way()),
                taskforce,
            )
            patience = None
            wait_settled(parcel.task.future)


def _end() -> None:
    _finish()
    for taskforce in _taskforces:
        with suppress(KeyboardInterrupt):
            taskforce.shutdown(wait=not _given_up, cancel_pending=_given_up)


def _log(message: str, *values: object) -> None:
    from laila.showing import logger

    logger("laila.taskforce").warning(message, *values)
