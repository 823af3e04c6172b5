"""DaskTaskForce: tasks on a Dask cluster."""

from __future__ import annotations

import asyncio
import copyreg
import os
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import attrs
from distributed import Client, SpecCluster
from distributed.client import ClosedClientError
from distributed.protocol.pickle import dumps, loads
from distributed.scheduler import KilledWorker

import dask
from laila.contract import (
    NO_THREAD,
    Parcel,
    RemoteSettings,
    RemoteTaskForce,
    locks,
    logger,
    option,
    shown,
    start_thread,
)
from laila.errors import InvalidArgumentError, LailaError, TaskForceError
from laila.taskforce.dask.local import LocalCluster, local_cluster
from laila.taskforce.dask.scheduler import MARK, MarkLost
from laila.taskforce.dask.worker import LOST, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DaskSettings", "DaskTaskForce"]


def _let_errors_pickle_themselves() -> None:
    """Undo what importing ``distributed`` does to the errors of laila.

    It lets every exception class pickle its cause and its traceback too (tblib). Then an error whose cause
    cannot be pickled could not be pickled either. Errors of laila pickle by themselves.
    """
    todo: list[type[BaseException]] = [LailaError]
    while todo:
        kind = todo.pop()
        copyreg.dispatch_table.pop(kind, None)
        todo += kind.__subclasses__()


_let_errors_pickle_themselves()

_LOOK_SECONDS = 20.0  # without an outcome, until this looks whether there are workers
_PATIENCE = 60.0  # a scheduler may be away so long before the waiting tasks fail

_QUIET = {"distributed.admin.large-graph-warning-threshold": "1TB"}
"""Dask warns of large arguments, but nobody could act on the warning here."""


class DaskSettings(RemoteSettings):
    """The options of the Dask task force."""

    prefix = "dask"

    address: str | None = option(
        default=None,
        from_data=False,  # the process at this address gets the tasks, and its answers are unpickled
        help="the scheduler's address, such as tcp://host:8786; without it a local cluster is begun",
    )
    workers: int | None = option(
        printed=True,
        default=None,
        shown="the cores of this machine",
        help="how many processes of one thread each a local cluster has",
        validator=attrs.validators.optional(attrs.validators.ge(1)),
    )
    ahead: int = option(
        printed=True,
        default=512,
        help="how many tasks the scheduler has at a time; tasks that wait beyond can be cancelled and paused",
        validator=attrs.validators.ge(1),
    )


class DaskTaskForce(RemoteTaskForce):
    """A task force on a Dask cluster: on a given cluster, or on a local cluster of processes.

    A worker that dies fails its running task with :class:`~laila.errors.WorkerLostError`; tasks that had not
    started are done elsewhere. A task that waits for laila's futures gives its place to others. Tasks that it
    submits go to the same cluster. Queued work is done before the interpreter exits. Thread-safe.

    Args:
        cluster: The scheduler's address, or a :class:`distributed.Client`, which the caller must close; by
            default a local cluster, which ends with the task force.
            workers: The number of processes of a local cluster.
            ahead: The number of tasks that the scheduler has at a time.
            retries: How often a task is started again when its worker died while it ran; by default never.
            share_secrets: Send the secrets of the policy's pools and protocol along, encrypted; by default
                workers take them from their own environment.
            address: The scheduler's address under another name, which the environment uses.
            nickname: A name that fixes the global id; by default the id is random.

    Raises:
        TypeError: For a ``cluster`` that is neither an address nor a client.
        SettingsError: For an option that is wrong (a ``ValueError``).
    """

    short_name = "dask"
    settings: DaskSettings

    def __init__(
        self,
        cluster: str | Client | None = None,
        *,
        workers: int | None = None,
        ahead: int | None = None,
        retries: int | None = None,
        share_secrets: bool | None = None,
        address: str | None = None,
        nickname: str | None = None,
    ) -> None:
        if not isinstance(cluster, str | Client | None):
            raise InvalidArgumentError(
                f"a Dask cluster is given by its scheduler's address or by a Client, not by {shown(cluster)}"
            )
        client = cluster if isinstance(cluster, Client) else None
        if client is not None:
            address = str(client.scheduler.address) if client.scheduler is not None else None
        elif cluster is not None:
            address = str(cluster)
        settings = DaskSettings.resolve(
            {
                "address": address,
                "workers": workers,
                "ahead": ahead,
                "retries": retries,
                "share_secrets": share_secrets,
            }
        )
        super().__init__(settings=settings, nickname=nickname)
        self._mine = client is None
        self._client: Client | None = client
        self._cluster: LocalCluster | None = None
        self._forked = False
        self._marked = False
        self._done: SimpleQueue[tuple[Parcel, Any] | None] = SimpleQueue()
        self._abandoned: list[Client | None] = []  # clients of local clusters that are gone
        self._ending: Thread | None = None
        self._said_so = False
        self._collector: Thread | None = None

    @property
    def client(self) -> Client | None:
        """The Dask client, or None before the first use."""
        return self._client

    @property
    def capacity(self) -> int:
        """The number of tasks that the scheduler has at a time; adaptive clusters grow with it."""
        return self.settings.ahead

    @property
    def batch(self) -> int:
        """A quarter of the capacity: Dask takes many tasks in about the time of one."""
        return max(self.settings.ahead // 4, 1)

    def _open(self) -> None:
        if self._forked:
            raise TaskForceError(
                "a Dask client does not survive a fork: make a new DaskTaskForce in the child, or start that "
                "by multiprocessing's method spawn"
            )
        self._client = self._client or self._connect()
        self._collector = Thread(target=self._collect, name="laila-dask-collector", daemon=True)
        if not start_thread(self._collector):
            self._collector = None
            raise TaskForceError(NO_THREAD)

    def _connect(self) -> Client:
        if self.settings.address is not None:
            return self._client_of(self.settings.address)
        if self._cluster is None:
            os.getcwd()  # raises where that folder was deleted: no process of the cluster could start
            self._cluster = local_cluster(self.settings.workers, self._local_gone)
        return self._client_of(self._cluster)

    @staticmethod
    def _client_of(cluster: str | SpecCluster) -> Client:
        client = Client(cluster, set_as_default=False)
        if client.loop is not None:  # set while it runs
            client.loop.add_callback(locks.serve_others)
        return client

    def _ship(self, parcels: Sequence[Parcel]) -> None:
        deadline = monotonic() + _PATIENCE
        while True:
            try:
                self._send(parcels)
                return
            except (OSError, ClosedClientError):
                # The scheduler is away, perhaps while it restarts. Nothing has been sent.
                if monotonic() > deadline:
                    raise
                sleep(0.1)

    def _send(self, parcels: Sequence[Parcel]) -> None:
        client = self._client
        if client is None or (client.status == "closed" and self._mine):
            # The local cluster is gone, or the scheduler was away for longer than a client waits.
            client = self._client = self._connect()
            self._marked = False
        if not self._marked:
            client.register_plugin(MarkLost())
            self._marked = True
        with dask.config.set(_QUIET):
            futures = client.map(
                run,
                [dumps(tuple(parcel.shipment)) for parcel in parcels],
                key=[f"{parcel.name}{MARK}{uuid4().hex}" for parcel in parcels],
                pure=False,
                retries=0,
            )
        for parcel, future in zip(parcels, futures, strict=True):
            future.add_done_callback(lambda future, parcel=parcel: self._done.put((parcel, future)))

    def _collect(self) -> None:
        """Fetch the ready outcomes, all in one call."""
        locks.serve_others()
        while True:
            try:
                got = [self._done.get(timeout=_LOOK_SECONDS)]
            except Empty:
                self._say_if_nobody_works()
                continue
            while not self._done.empty():
                got.append(self._done.get())
            ready = []
            for delivery in got:
                if delivery is None:
                    return
                parcel, future = delivery
                if future.client in self._abandoned:
                    continue  # it was reported as lost
                if future.status in ("error", "cancelled"):
                    self._failed(parcel, future)
                else:  # finished; or lost with its worker, and queued again: then fetching it waits
                    ready.append((parcel, future))
            if ready:
                self._fetch(ready)
            del got, ready

    def _say_if_nobody_works(self) -> None:
        """Log, once in a row, that a cluster has no workers: its tasks wait for a worker."""
        client, waiting = self._client, len(self.shipped())
        nobody = waiting > 0 and client is not None and client.status == "running"
        if client is None or not nobody or client.scheduler_info()["workers"]:
            self._said_so = False
        elif not self._said_so:
            self._said_so = True
            logger("laila.taskforce").warning(
                "the Dask cluster at %s has no worker: %d tasks wait until one comes",
                client.scheduler_info().get("address", self.settings.address),
                waiting,
            )

    def _fetch(self, ready: list[tuple[Parcel, Any]]) -> None:
        try:
            outcomes = ready[0][1].client.gather([future for _, future in ready])
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - after any error, each outcome is fetched alone
            if len(ready) == 1:
                self._failed(*ready[0])
            else:
                for one in ready:
                    self._fetch([one])
            return
        for (parcel, _), outcome in zip(ready, outcomes, strict=True):
            if outcome == LOST:
                self.lost(parcel, "died, or may have died, while it ran the task", started=True)
            else:
                self.returned(parcel, outcome)

    def _failed(self, parcel: Parcel, future: Any) -> None:
        """Fail a task that Dask has given up: its worker, or the scheduler, is gone."""
        if future.status != "error":
            self._marked = False  # another scheduler may answer from now on
            self.lost(parcel, "was lost with the scheduler, which stopped or was restarted", started=True)
            return
        error = future.exception()
        if isinstance(error, KilledWorker):
            self.lost(parcel, "died, and so did those that were to take over", started=True)
            return
        advice = (
            ""
            if isinstance(error, LailaError)  # it has a cause of its own
            else "; laila-taskforce-dask must be installed where the workers and the scheduler run, as here"
        )
        failure = TaskForceError(
            f"Dask could not run the task {parcel.name} ({type(error).__name__}: {error}){advice}"
        )
        failure.__cause__ = error
        self.refused(parcel, failure)

    def _local_gone(self, cluster: LocalCluster, why: str) -> None:
        """Called by the event loop of a local cluster that has lost all its workers for good."""
        self._ending = Thread(target=self._replace, args=(cluster, why), name="laila-dask-end", daemon=True)
        self._ending.start()

    def _replace(self, cluster: LocalCluster, why: str) -> None:
        """Fail the tasks of the cluster, and end it; the next task begins another cluster."""
        with self._shipping:
            if self._cluster is not cluster:
                return
            client, self._client, self._cluster = self._client, None, None
            self._marked = False
            self._abandoned.append(client)
            had = self.shipped()
        how = f"ended, as did all of the local cluster, and none starts any more ({why}); stderr may say more"
        for parcel in had:
            self.lost(parcel, how, started=True)
        if client is not None:
            client.close()
        cluster.close()

    def _shut(self) -> None:
        self._done.put(None)
        if self._ending is not None:
            self._ending.join()
        if self._collector is not None:
            self._collector.join()
        self._leave()

    def _abandon(self) -> None:
        self._done.put(None)
        self._leave()

    def _leave(self) -> None:
        if self._client is not None and self._mine:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _drop(self) -> None:
        self._forked = True
        _parents.append((self._client, self._cluster))
        self._client = self._cluster = None

    @staticmethod
    def dumps(value: object) -> bytes:
        """Pickle by Dask's means: pickle, or cloudpickle for objects that pickle refuses."""
        data: bytes = dumps(value)
        return data

    @staticmethod
    def loads(data: Any) -> Any:
        """Unpickle the bytes of :meth:`dumps`."""
        return loads(data)


# Clients of the parent, in a forked child: kept alive, so that the parent's connections stay untouched.
_parents: list[Any] = []
