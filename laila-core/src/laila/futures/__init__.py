"""Futures: the outcome of work that may not be done yet, alone and in groups.

:class:`Future` and :class:`GroupFuture` are what every verb and every ``submit`` returns. :data:`guarantee`
waits for all that were made in a block; :func:`as_completed` gives them as they settle; :class:`FutureBank`
finds them by id. Task forces run a :class:`Task` and settle its future; :func:`spawn` has something done by
the active one.
"""

from __future__ import annotations

from laila.futures.future import Future, set_observer
from laila.futures.group import GroupFuture
from laila.futures.states import FutureStatus
from laila.futures.task import Task, set_submitter, spawn
from laila.lazy import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.futures.bank import FutureBank, FutureIdentity, future_bank
    from laila.futures.completion import as_completed
    from laila.futures.guarantees import guarantee, guarantee_async
    from laila.futures.lookup import runtime, status, wait
    from laila.futures.remote import RemoteFuture
else:
    # Names that the first memorize does not need.
    __getattr__ = lazily(
        __name__,
        {
            "FutureBank": "laila.futures.bank",
            "FutureIdentity": "laila.futures.bank",
            "future_bank": "laila.futures.bank",
            "as_completed": "laila.futures.completion",
            "guarantee": "laila.futures.guarantees",
            "guarantee_async": "laila.futures.guarantees",
            "RemoteFuture": "laila.futures.remote",
            "runtime": "laila.futures.lookup",
            "status": "laila.futures.lookup",
            "wait": "laila.futures.lookup",
        },
    )


__all__ = [
    "Future",
    "FutureBank",
    "FutureIdentity",
    "FutureStatus",
    "GroupFuture",
    "RemoteFuture",
    "Task",
    "as_completed",
    "future_bank",
    "guarantee",
    "guarantee_async",
    "runtime",
    "set_observer",
    "set_submitter",
    "spawn",
    "status",
    "wait",
]
