"""RemoteTaskForce: what task forces share whose tasks run in other processes, on an engine such as Dask.

Work queues here, at the submitter, and a bounded number of tasks (:attr:`RemoteTaskForce.capacity`) is with
the engine at a time: what has not been handed over can be cancelled and paused. A task is packed when it is
submitted, so that what cannot travel is refused then, by its name, and what is done to its arguments
afterwards changes nothing. What happens in the worker is :func:`laila.offload.worker.perform`.

An author writes five small methods: to start and end the engine, to hand tasks to it, and to say what it
takes. The engine's own threads tell outcomes by :meth:`RemoteTaskForce.returned`, and tasks whose worker died
by :meth:`RemoteTaskForce.lost`.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import deque
from functools import partial
from threading import Event
from typing import ClassVar, final
from weakref import WeakValueDictionary

import attrs

from laila.active import peek_policy
from laila.codec.visiting import pack
from laila.contract.taskforce import Task, TaskForce
from laila.entry.entry import _stand_in
from laila.errors import InvalidTaskError, RemoteTraceback, TaskForceError, WorkerLostError
from laila.futures.base import wait_settled
from laila.futures.failure import Failure, log_error
from laila.futures.states import FAILED, FINISHED
from laila.locks import check_free, check_may_use, long_lock, starting
from laila.offload.executor import CallbackExecutor
from laila.offload.lifetime import watch
from laila.offload.worker import Shipment, reference
from laila.settings import Settings, option
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from laila.entry import Entry
    from laila.policy import DefaultPolicy

__all__ = ["Parcel", "RemoteSettings", "RemoteTaskForce"]

_MAX_MOVES = 3
"""How often a task that has not started is taken to another worker before it is given up: workers that die
before they start anything will go on to do so."""


class RemoteSettings(Settings):
    """The options that task forces of other processes share."""

    retries: int = option(
        printed=True,
        default=0,
        help="how often a task whose worker died while it ran is started again",
        validator=attrs.validators.ge(0),
    )
    share_secrets: bool = option(
        printed=True,
        default=False,
        from_data=False,
        help="send the secrets of the policy's pools and protocol with the tasks, encrypted",
    )


class Parcel:
    """A task on its way: what travels, and what is known of it here. Compared by identity."""

    __slots__ = ("moves", "shipment", "starts", "task")

    def __init__(self, task: Task, shipment: Shipment) -> None:
        self.task = task
        self.shipment = shipment
        self.starts = 0  # how often a worker began it, and died
        self.moves = 0  # how often a worker died before it began it

    @property
    def name(self) -> str:
        """The name of the task in messages."""
        return self.shipment.name

    def __repr__(self) -> str:
        return f"<Parcel {self.name} {self.task.future.status}>"


def _advice() -> str:
    """Say what to do where no process can start, because the current folder was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "; the current folder was deleted, and no process starts there: change to another (os.chdir)"
    return ""


class RemoteTaskForce(TaskForce):
    """Runs tasks in other processes; the base class of task forces on an engine.

    Tasks get copies of what they are given, and none of the submitter's context; callbacks are called here,
    by threads of the task force. What laila's verbs do in the background stays in this process.
    """

    in_process: ClassVar[bool] = False
    for_authors = TaskForce.for_authors | {"_open", "_ship", "_shut", "_abandon", "_drop"}
    keeps = frozenset(
        ("_ended", "_gone", "_callbacks", "_held", "_lock", "_opened", "_out", "_over", "_policies", "_queue")
    ) | {"_shipping", "_there"}
    settings: RemoteSettings

    def __init__(self, *, settings: RemoteSettings, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname, settings=settings)
        self._policies: WeakValueDictionary[int, DefaultPolicy] = WeakValueDictionary()
        self._begin()

    def _begin(self) -> None:
        """Start from nothing; again in a forked child."""
        self._lock = long_lock()
        self._shipping = long_lock()
        self._queue: deque[Parcel] = deque()
        self._out: set[Parcel] = set()  # taken off the queue, not settled
        self._there: set[Parcel] = set()  # those of them that the engine has
        self._held = self._over = self._opened = self._ended = False
        self._gone = Event()
        self._callbacks = CallbackExecutor(self.nickname or type(self).__name__)

    # ---------------------------------------------------------------------------- what an author implements

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many tasks the engine is given at a time."""

    @property
    def batch(self) -> int:
        """How many tasks are handed over in one call, where as many wait: more where a call is dear."""
        return 1

    @abstractmethod
    def _open(self) -> None:
        """Start or reach the engine. Called before the first :meth:`_ship`, once."""

    @abstractmethod
    def _ship(self, parcels: Sequence[Parcel]) -> None:
        """Hand ``parcels`` to the engine, in order, without waiting for them; all or, raising, none.

        For each the engine is to call :func:`laila.offload.worker.perform` with ``parcel.shipment`` in a
        worker, and then :meth:`returned` or :meth:`lost` here, once. Not called by two threads at once.
        """

    @abstractmethod
    def _shut(self) -> None:
        """End the engine, or leave it if it is another's; nothing is under way. Called once after `_open`."""

    def _abandon(self) -> None:
        """End the engine in the middle of its work, or leave it, and do not wait for a task.

        In place of :meth:`_shut`, when the user interrupts an exit that waits for tasks. By default nothing.
        """

    @abstractmethod
    def _drop(self) -> None:
        """In a forked child: forget the engine, which is the parent's, and touch nothing of it."""

    @staticmethod
    @abstractmethod
    def dumps(value: object) -> bytes | memoryview:
        """Serialize as the engine does. Raises anything for what cannot be.

        Args:
            value: Any object.

        Returns:
            The bytes.
        """

    @staticmethod
    @abstractmethod
    def loads(data: Any) -> Any:
        """The inverse of :meth:`dumps`, for what this task force's own workers have sent.

        Args:
            data: Bytes that :meth:`dumps` made.

        Returns:
            The value.
        """

    # ------------------------------------------------------------------------ what an author's engine calls

    @final
    def returned(self, parcel: Parcel, outcome: bytes | memoryview) -> None:
        """A worker has done a task; ``outcome`` is what :func:`laila.offload.worker.perform` gave it.

        Args:
            parcel: The task.
            outcome: The bytes of the outcome.
        """
        self._callbacks.call(partial(self._returned, parcel, outcome))

    @final
    def lost(self, parcel: Parcel, how: str, *, started: bool) -> None:
        """A worker died with a task; ``how`` completes "its worker process …".

        A task that had not started is handed over again. A task that may have started fails, unless the task
        force has ``retries``.

        Args:
            parcel: The task.
            how: How the worker ended.
            started: Whether the task may have started.
        """
        self._callbacks.call(partial(self._lost, parcel, how, started))

    @final
    def refused(self, parcel: Parcel, error: BaseException) -> None:
        """Note that the engine cannot do a task.

        Args:
            parcel: The task.
            error: The reason.
        """
        self._callbacks.call(partial(self._settle, parcel, FAILED, Failure(error, parcel.name)))

    # ------------------------------------------------------------------------------------------- submitting

    def serve(self, policy: DefaultPolicy) -> None:
        """Let tasks act through ``policy``, which this task force was added to."""
        self._policies[id(policy)] = policy

    def _submit(self, tasks: Sequence[Task]) -> None:
        check_may_use()
        check_free(starting)  # the hands may need another thread
        policy = self._policy()
        ticket: bytes | None = None
        reachable: frozenset[str] = frozenset()
        if policy is not None:
            from laila.offload.ticket import reachable_pools, ticket_of

            ticket = ticket_of(policy, self.uuid, share_secrets=self.settings.share_secrets)
            reachable = reachable_pools(policy)
        classes = pack(self.dumps)
        parcels = [self._pack(task, ticket, reachable, classes) for task in tasks]
        with self._lock:
            if self._over:
                raise TaskForceError(
                    f"{self!r} was shut down and runs nothing any more: make a new task force"
                )
            self._queue.extend(parcels)
        self._callbacks.call(self._hand_over)

    def _policy(self) -> DefaultPolicy | None:
        """Whose tasks these are: the policy that this was added to; the active one where there is none."""
        policy = peek_policy()
        # Where the active policy is a peer, its communication is part of one of this process.
        active: DefaultPolicy | None = None if policy is None else policy.central.communication.policy
        added = [policy for policy in list(self._policies.values()) if not policy.closed]
        return active if not added or any(active is policy for policy in added) else added[0]

    def _pack(
        self, task: Task, ticket: bytes | None, reachable: frozenset[str], classes: bytes = b""
    ) -> Parcel:
        references: dict[str, str] = {}

        def stand_in(entry: Entry) -> tuple[Any, ...] | None:
            pool = entry.stored_in()
            if pool is None or pool not in reachable:
                return None
            references[entry.global_id] = pool
            return reference, (entry.global_id,)

        token = _stand_in.set(stand_in)
        try:
            work = bytes(self.dumps(task.fn))
        except Exception as error:
            raise InvalidTaskError(
                f"the task {task.name} cannot be sent to another process ({type(error).__name__}: "
                f"{said(error)}); "
                "give it plain data, or the ids of entries, in place of what belongs to this process"
            ) from error
        finally:
            _stand_in.reset(token)
        return Parcel(task, Shipment(task.name, work, ticket, tuple(references.items()), classes))

    # ------------------------------------------------------------------------ by the hands: there and back

    def _hand_over(self) -> None:
        """Give the engine what it takes of what waits."""
        while (parcels := self._take()) is not None:
            ready = [parcel for parcel in parcels if parcel.starts or parcel.moves or parcel.task.claim()]
            if len(ready) < len(parcels):
                with self._lock:
                    self._out.difference_update(set(parcels).difference(ready))
                    self._there &= self._out
            if not ready:
                continue
            try:
                with self._shipping:
                    self._ensure_open()
                    self._ship(ready)
            except Exception as error:  # noqa: BLE001 - an engine may fail in any way: it is the tasks' outcome
                for parcel in ready:
                    refusal = TaskForceError(
                        f"{self!r} could not hand over the task {parcel.name}: {said(error)}{_advice()}"
                    )
                    refusal.__cause__ = error
                    self._settle(parcel, FAILED, Failure(refusal, parcel.name))
        self._end_if_done()

    def _take(self) -> list[Parcel] | None:
        """Take the next parcels off the queue; None where there is nothing to hand over now."""
        with self._lock:
            room = self.capacity - len(self._there)
            if self._held or not self._queue or room <= 0:
                return None
            if room < self.batch and len(self._queue) > room and self._there:
                return None  # not yet: soon more go in one call
            taken = [self._queue.popleft() for _ in range(min(room, len(self._queue)))]
            self._out.update(taken)
            self._there.update(taken)
            return taken

    def _ensure_open(self) -> None:
        if not self._opened:
            self._open()
            self._opened = True

    def _returned(self, parcel: Parcel, outcome: bytes | memoryview) -> None:
        with self._lock:
            if parcel not in self._there:
                return  # settled in another way
            self._there.discard(parcel)
        # Keep the engine busy before this takes its time.
        self._hand_over_next()
        try:
            good, value, trace = self.loads(outcome)
        except BaseException as error:  # noqa: BLE001 - unpickling runs code of the user's classes
            refusal = TaskForceError(
                f"what {parcel.name} returned cannot be unpacked here ({type(error).__name__}: {said(error)})"
            )
            refusal.__cause__ = error
            self._settle(parcel, FAILED, Failure(refusal, parcel.name))
            return
        if good:
            self._settle(parcel, FINISHED, value)
            return
        value.__cause__ = RemoteTraceback(f'\n"""\n{trace}"""')
        self._settle(parcel, FAILED, Failure(value, parcel.name))

    def _lost(self, parcel: Parcel, how: str, started: bool) -> None:
        again = False
        with self._lock:
            if parcel not in self._there:
                return
            if started:
                parcel.starts += 1
                again = parcel.starts <= self.settings.retries
            else:
                parcel.moves += 1
                again = parcel.moves <= _MAX_MOVES
            self._there.discard(parcel)
            if again:
                self._out.discard(parcel)
                self._queue.appendleft(parcel)
        if again:
            self._hand_over()
            return
        times = "" if parcel.starts < 2 else f" It was started {parcel.starts} times."
        loss = WorkerLostError(
            f"the task {parcel.name} is lost: its worker process {how}.{times} Other tasks go on; what it "
            "had memorized is stored. Submit it again if it may run twice, or give the task force retries=",
            task=parcel.name,
        )
        self._settle(parcel, FAILED, Failure(loss, parcel.name))

    def _settle(self, parcel: Parcel, state: int, value: object) -> None:
        with self._lock:
            if parcel not in self._out:
                return
            self._out.discard(parcel)
            self._there.discard(parcel)
        self._hand_over_next()
        parcel.task.future._settle(state, value)
        self._end_if_done()

    def _hand_over_next(self) -> None:
        """Keep the engine busy before anything of the user's is run."""
        if self._queue:
            self._hand_over()

    # -------------------------------------------------------------------------------------- pause and the end

    @property
    def queue_len(self) -> int:
        """How many tasks wait here."""
        return sum(not parcel.task.started for parcel in self._queue.copy())

    @property
    def look_ahead(self) -> int:
        """How many tasks ``imap`` keeps under way: as many again as the engine takes."""
        return 2 * self.capacity

    def _start(self) -> None:
        watch(self)  # the engine is started for the first task

    def _pause(self) -> None:
        with self._lock:
            self._held = True

    def _resume(self) -> None:
        with self._lock:
            self._held = False
        self._callbacks.call(self._hand_over)

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        with self._lock:
            self._over = True
            queued = list(self._queue) if cancel_pending else []
        for parcel in queued:
            parcel.task.future.cancel()
        with self._lock:
            self._queue = deque(parcel for parcel in self._queue if not parcel.task.future._is_settled())
        self._resume()
        if wait:
            self.drain()
            self._end_if_done()
            self._gone.wait()

    @final
    def drain(self) -> None:
        """Wait until everything that was submitted has settled."""
        while pending := self.under_way():
            for parcel in pending:
                wait_settled(parcel.task.future)

    @final
    def under_way(self) -> list[Parcel]:
        """Return the submitted tasks that have not settled.

        Returns:
            The tasks.
        """
        with self._lock:
            every = [*self._queue, *self._out]
        return [parcel for parcel in every if not parcel.task.future._is_settled()]

    def _end_if_done(self) -> None:
        """End the engine, once nothing is under way and nothing can come."""
        with self._lock:
            if not self._over or self._ended or self.under_way():
                return
            self._ended = True
            opened = self._opened
        self._callbacks.stop()
        if opened:
            try:
                self._shut()
            except Exception as error:  # noqa: BLE001 - everything has been done: said, and no more
                log_error(f"{self!r} did not close cleanly", error, error.__traceback__)
        self._gone.set()

    @final
    def shipped(self) -> list[Parcel]:
        """Return the tasks that the engine has.

        Returns:
            The tasks.
        """
        with self._lock:
            return list(self._there)

    def give_up(self) -> tuple[int, int]:
        """End the engine at an exit that was interrupted.

        Tasks that had not started are cancelled, the others fail.

        Returns:
            The number of dropped tasks, and of failed ones.
        """
        with self._lock:
            self._over = self._held = True
            queued, out = list(self._queue), list(self._out)
            self._queue.clear()
            ended, self._ended = self._ended, True
        dropped = sum(parcel.task.future.cancel() for parcel in queued)
        for parcel in out:
            refusal = TaskForceError(
                f"the task {parcel.name} was broken off: the program was interrupted while it waited for "
                "it at its end"
            )
            failure = Failure(refusal, parcel.name)
            failure.seen = True  # the user did it, and is told how many there were
            self._settle(parcel, FAILED, failure)
        if self._opened and not ended:
            self._abandon()
        self._gone.set()
        return dropped, len(out)

    def after_fork(self) -> None:
        """In a forked child: fail what the parent has under way, and begin anew."""
        left = [*self._queue, *self._out]
        over = self._over
        self._begin()
        self._over = over
        self._drop()
        error = TaskForceError(
            f"the process was forked while this task of {self!r} was under way, and it goes on in the "
            "parent; submit it again in the child if it is needed there"
        )
        for parcel in left:
            parcel.task.abandon(error)
