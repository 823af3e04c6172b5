"""The work of a worker process: it runs a task that another process submitted.

An engine calls :func:`perform` with a :class:`Shipment` and gets back the bytes to return. Inside the task
the active policy is the submitter's, rebuilt here at its first use and kept for later tasks. Stored entries
travel as references, and are remembered here. A task ends when its own work has ended: the worker waits for
everything that it submits and memorizes.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import NamedTuple
from uuid import uuid4

from laila.active import local_policy, set_policy_here
from laila.codec.visiting import welcome
from laila.errors import LailaError, NoActivePolicyError, TaskForceError
from laila.forks import after_fork
from laila.futures.base import wait_settled
from laila.futures.batch import Batch
from laila.futures.group import GroupFuture
from laila.futures.scope import Scope, set_scope
from laila.futures.states import FAILED
from laila.futures.waiting import current_host, set_host
from laila.locks import long_lock
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn, TypeAlias

    from laila.contract.taskforce import TaskForce
    from laila.entry import Entry
    from laila.futures.failure import Failure
    from laila.futures.scope import AnyFuture
    from laila.futures.waiting import Host
    from laila.policy import DefaultPolicy

    Dumps: TypeAlias = Callable[[object], "bytes | memoryview"]
    Loads: TypeAlias = Callable[[Any], Any]
    Nested: TypeAlias = Callable[[], TaskForce]

__all__ = ["Shipment", "leave_signals_to_the_submitter", "perform", "process_identity", "reference"]


class Shipment(NamedTuple):
    """A task as it travels: plain data, which any engine can carry."""

    name: str
    """The name of the task in messages."""
    work: bytes
    """The callable, as the engine's own serialization makes it."""
    ticket: bytes | None
    """The submitter's policy, as :meth:`DefaultPolicy.ticket` writes it down; None where it had none."""
    references: tuple[tuple[str, str], ...]
    """The global ids of the entries that the task is given, each with the uuid of the pool that has it."""
    classes: bytes = b""
    """What the submitter has registered, as :func:`laila.codec.visiting.pack` writes it."""


_TOKEN = uuid4().hex


def process_identity() -> str:
    """Return what tells this process from all others, on whatever host, and from its forks."""
    return f"{_TOKEN} {os.getpid()}"


def leave_signals_to_the_submitter() -> None:
    """Let this worker process end with its submitter, and ignore the submitter's signals.

    Ctrl-C goes to every process of a terminal, and a SIGTERM often to every process of a service or a job.
    The submitter decides what that means for the work; when it ends, so do its workers. Call it in the main
    thread.
    """
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        # A handler, and not SIG_IGN: programs that a task starts do not inherit it.
        signal.signal(number, _do_nothing)
    after_fork(_end_by_signals)


def _do_nothing(number: int, frame: object) -> None:
    pass


def _end_by_signals() -> None:
    """In a process that a task forked, such as one of a pool's, which ends its workers by SIGTERM."""
    import signal

    if signal.getsignal(signal.SIGTERM) is _do_nothing:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# ------------------------------------------------------------------------------------------------- references

_arrived: ContextVar[dict[str, Entry] | None] = ContextVar("laila_arrived", default=None)


def reference(global_id: str) -> Entry:
    """Return the entry of a task that has just arrived: what a reference is unpickled by."""
    arrived = _arrived.get()
    if arrived is None or global_id not in arrived:
        raise TaskForceError(f"{global_id} travels with a task, and is unpickled there alone")
    return arrived[global_id]


def _fetch(references: tuple[tuple[str, str], ...], policy: DefaultPolicy) -> dict[str, Entry]:
    """Remember what a task was given, one batch a pool."""
    memory = policy.central.memory
    ids = {pool.uuid: gid for gid, pool in memory.router.pools.items()}
    wanted: dict[str, list[str]] = {}
    for key, pool in references:
        wanted.setdefault(pool, []).append(key)
    futures = [(keys, memory.remember(keys, pool_id=ids.get(pool))) for pool, keys in wanted.items()]
    return {key: entry for keys, future in futures for key, entry in zip(keys, future.wait(), strict=True)}


# --------------------------------------------------------------------------------------------------- policies


class _Site:
    """One submitter's policy in this process."""

    def __init__(self, ticket: bytes, nested: Nested | None) -> None:
        import json

        read: dict[str, Any] = json.loads(ticket)
        self.uuid: str = read["policy"]["uuid"]
        self._global_id: str = read["global_id"]
        self._home: str = read["process"]
        self._ticket = ticket
        self._nested = nested
        self._lock = long_lock()
        self._policy: DefaultPolicy | None = None
        self._own = False
        self.tasks = 0
        self.retired = False

    def policy(self) -> DefaultPolicy:
        """The policy, built by the first who asks."""
        with self._lock:
            if self._policy is None:
                if self._home == process_identity():
                    self._policy = local_policy(self._global_id)
                if self._policy is None:
                    from laila.offload.ticket import policy_from_ticket

                    self._policy = policy_from_ticket(self._ticket, self._nested and self._nested())
                    self._own = True
            return self._policy

    def close(self) -> None:
        """Close a policy that was built here."""
        with self._lock:
            policy, self._policy = self._policy, None
        if policy is not None and self._own:
            policy.close()


_sites: dict[bytes, _Site] = {}
_lock = long_lock()


@contextmanager
def _at(ticket: bytes | None, nested: Nested | None) -> Iterator[Callable[[], DefaultPolicy]]:
    """Where a task's policy is found while it runs."""
    if ticket is None:
        yield _no_policy
        return
    old: list[_Site] = []
    with _lock:
        site = _sites.get(ticket)
        if site is None:
            site = _Site(ticket, nested)
            # The submitter's policy has changed: what was built of it before goes when nobody uses it.
            for known, other in list(_sites.items()):
                if other.uuid == site.uuid:
                    other.retired = True
                    del _sites[known]
                    old.append(other)
            _sites[ticket] = site
        site.tasks += 1
        old = [other for other in old if other.tasks == 0]
    for other in old:
        other.close()
    try:
        yield site.policy
    finally:
        with _lock:
            site.tasks -= 1
            leave = site.retired and site.tasks == 0
        if leave:
            site.close()


def _no_policy() -> DefaultPolicy:
    raise NoActivePolicyError(
        "this task was submitted by a process without an active policy, so that there is none here; submit "
        "through laila.command, or activate a policy before"
    )


# -------------------------------------------------------------------------------------------------- the task


def perform(
    shipment: Shipment,
    dumps: Dumps,
    loads: Loads,
    *,
    host: Host | None = None,
    nested: Nested | None = None,
) -> bytes | memoryview:
    """Do a task. Blocks; raises nothing.

    Args:
        shipment: The task.
        dumps: The engine's serialization.
        loads: Its inverse.
        host: What takes the place of this thread while the task waits for laila's futures, if anything does.
        nested: Makes the task force that the submitter's policy has here, for what the task itself submits;
            by default that of threads, or the caller where that is not installed.

    Returns:
        The outcome as bytes, which :func:`unpack` takes.
    """
    before = current_host()
    set_host(host)
    try:
        with _at(shipment.ticket, nested) as policy:
            outcome = copy_context().run(_do, shipment, loads, policy)
    except BaseException as error:  # noqa: BLE001 - such as a policy that does not close: the task's outcome
        outcome = _failed(error)
    finally:
        set_host(before)
    return _packed(shipment.name, outcome, dumps, loads)


_Outcome = tuple[bool, object, str]
"""Whether the task gave a result, that or its error, and where the error was raised."""


def _do(shipment: Shipment, loads: Loads, policy: Callable[[], DefaultPolicy]) -> _Outcome:
    scope = Scope(None)
    set_scope(scope)
    set_policy_here(policy)
    outcome: _Outcome
    process = os.getpid()
    try:
        welcome(shipment.classes, loads)
        if shipment.references:
            _arrived.set(_fetch(shipment.references, policy()))
        outcome = True, _unpickled(shipment, loads)(), ""
    except BaseException as error:  # noqa: BLE001 - whatever ends the task is its outcome
        outcome = _failed(error)
    if os.getpid() != process:
        _end_of_fork(outcome)
    while pending := scope.pending():
        wait_settled(GroupFuture.of(pending))
    if outcome[0] and (failure := next(filter(None, map(_unseen, scope.snapshot())), None)) is not None:
        outcome = _failed(failure.look())
    return outcome


def _end_of_fork(outcome: _Outcome) -> NoReturn:
    """End a process that the task forked, and that came back from it: the outcome is the worker's to send."""
    good, error, trace = outcome
    code = 0 if good else 1
    if isinstance(error, SystemExit) and not good:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif not good:
        sys.stderr.write(trace)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # there may be none, or it is closed
            stream.flush()
    os._exit(code & 0xFF)


def _unpickled(shipment: Shipment, loads: Loads) -> Callable[[], object]:
    try:
        work: Callable[[], object] = loads(shipment.work)
    except LailaError:
        raise
    except Exception as error:
        raise TaskForceError(
            f"the task {shipment.name} cannot be unpacked in the process that was to run it "
            f"({type(error).__name__}: {said(error)}); its modules must be importable there, in the "
            "same versions"
        ) from error
    return work


def _unseen(future: AnyFuture) -> Failure | None:
    """The first error of a future that the task began and never looked at."""
    for part in future._parts if isinstance(future, GroupFuture) else (future,):
        if isinstance(part, Batch):
            failures = part.failures()
        else:
            failures = [part._value] if part._state == FAILED else []
        for failure in failures:
            if not failure.seen:
                return failure
    return None


def _failed(error: BaseException) -> _Outcome:
    from traceback import format_exception

    return False, error, "".join(format_exception(error))


def _packed(name: str, outcome: _Outcome, dumps: Dumps, loads: Loads) -> bytes | memoryview:
    good, value, trace = outcome
    try:
        packed = dumps(outcome)
        if not good:
            loads(packed)  # what pickles does not always unpickle, and errors are a classic
        return packed
    except Exception as error:  # noqa: BLE001 - a class's own reduce may raise anything
        kind = type(value).__name__
        if good:
            failure = TaskForceError(
                f"the task {name} returned a {kind}, which cannot be sent to the process that submitted it "
                f"({type(error).__name__}: {said(error)}); return plain data, or memorize it and return "
                "its id"
            )
        else:
            failure = TaskForceError(
                f"the task {name} raised {kind}: {value}; that error cannot be sent to the process that "
                f"submitted the task ({type(error).__name__}: {said(error)})"
            )
        return dumps((False, failure, trace or _failed(error)[2]))
