"""One thread renews all leases of this process. It begins with the first lease and ends after the last."""

from __future__ import annotations

import os
from threading import Event, Thread

from laila.forks import after_fork
from laila.leasing.records import boot_time
from laila.locks import mutex
from laila.showing import logger, said
from laila.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.leasing.lease import Lease

__all__ = ["forget", "keep"]

_PARTS = 3
"""A lease is renewed when a third of its time is over, so that two renewals may fail."""

_due: dict[Lease, float] = {}
_thread: Thread | None = None
_wake = Event()


def keep(lease: Lease) -> None:
    """Have a lease renewed until :func:`forget`.

    Args:
        lease: The lease.
    """
    global _thread
    with mutex:
        _due[lease] = boot_time() + lease.ttl / _PARTS
        thread = None
        if _thread is None:
            thread = _thread = Thread(target=_renew_all, name="laila-leases", daemon=True)
    if thread is None:
        _wake.set()
    elif not start_thread(thread):
        with mutex:
            _thread = None
        logger("laila.leases").warning("no thread can be started to renew leases: they last for their ttl")


def forget(lease: Lease) -> None:
    """Renew a lease no more.

    Args:
        lease: The lease.
    """
    with mutex:
        _due.pop(lease, None)
    _wake.set()


def _renew_all() -> None:
    global _thread
    pid = os.getpid()
    while True:
        _wake.clear()
        with mutex:
            if not _due:
                _thread = None
                return
            lease, due = min(_due.items(), key=lambda item: item[1])
        pause = due - boot_time()
        if pause > 0:
            _wake.wait(pause)
            continue
        _renew(lease)
        if os.getpid() != pid:  # a fork in this thread: the child has its own
            return


def _renew(lease: Lease) -> None:
    """Renew one lease that is due; after a failure again soon, until it is over."""
    pause = lease.ttl / _PARTS
    try:
        lease.renew()
    except Exception as error:  # noqa: BLE001 - told by the log, and by the lease once it is over
        if lease.lost is not None:
            logger("laila.leases").warning("%s", said(lease.lost))
            forget(lease)
            return
        logger("laila.leases").warning("a lease was not renewed, and is tried again: %s", said(error))
        pause = min(pause, max(lease.seconds_left / _PARTS, 0.05))
    with mutex:
        if lease in _due:
            _due[lease] = boot_time() + pause


@after_fork
def _forget_all() -> None:
    """The leases are the parent's."""
    global _thread
    _due.clear()
    _thread = None
