"""The policy object: memory, command and communication under one identity, from first use to close."""

from __future__ import annotations

import atexit
from functools import partial
from weakref import WeakValueDictionary

from laila.central.command import DefaultCentralCommand
from laila.central.events import Events
from laila.central.ids import as_key
from laila.central.interface import LocalPolicy
from laila.central.memory import DefaultCentralMemory
from laila.central.pending import MAX_PENDING_BYTES
from laila.central.reading import remember
from laila.central.router import DefaultPoolRouter
from laila.component.component import Component
from laila.errors import EntryNotFoundError, LailaError
from laila.peering.communication import DefaultCentralCommunication
from laila.peering.granting import find_grantor
from laila.trying import do_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, ClassVar, Self

    from laila.central.naming import PoolSubset
    from laila.contract.pool import Pool
    from laila.contract.taskforce import TaskForce
    from laila.entry import Entry
    from laila.futures import Future, FutureBank, GroupFuture

__all__ = ["DefaultPolicy", "local_policies", "open_policies"]

# By id of the object: two policies of one nickname have one global id, and both are closed at the end.
_policies: WeakValueDictionary[int, DefaultPolicy] = WeakValueDictionary()


def open_policies() -> list[DefaultPolicy]:
    """Return all open policies of this process, also those that share a global id."""
    return [policy for policy in list(_policies.values()) if not policy.closed]


def local_policies() -> dict[str, DefaultPolicy]:
    """Return the open policies of this process by global id; of two with one id, the one made last."""
    return {policy.global_id: policy for policy in open_policies()}


class DefaultPolicy(Component, LocalPolicy):
    """Routes entries to pools, runs work on task forces and talks to peers.

    ``alpha_pool`` is what the verbs mean when they name none (an in-memory pool by default), ``taskforce``
    what runs work (threads where that plugin is installed); ``pickle=False`` refuses payloads that need code
    to come back; ``memorize`` holds its caller back while more than ``max_pending_bytes`` wait to be written.
    Thread-safe.
    """

    scope: ClassVar[str] = "POLICY"

    class Central:
        """The three parts of a policy."""

        __slots__ = ("command", "communication", "memory")

        def __init__(
            self,
            memory: DefaultCentralMemory,
            command: DefaultCentralCommand,
            communication: DefaultCentralCommunication,
        ) -> None:
            self.memory = memory
            self.command = command
            self.communication = communication

    central: Central

    def __init__(
        self,
        *,
        nickname: str | None = None,
        alpha_pool: Pool | None = None,
        taskforce: TaskForce | None = None,
        pickle: bool = True,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        _announce: bool = True,  # false while an environment is rebuilt, which has more to restore
    ) -> None:
        super().__init__(nickname=nickname)
        from laila.plugins import load_hooks

        load_hooks()
        self._events = Events(self)
        taskforces = () if taskforce is None else (taskforce,)
        command = DefaultCentralCommand(taskforces, alpha_factory=_default_taskforce)
        memory = DefaultCentralMemory(
            command,
            self._events,
            DefaultPoolRouter(alpha_pool),
            pickle=pickle,
            max_pending_bytes=max_pending_bytes,
        )
        communication = DefaultCentralCommunication(self.global_id, self._events)
        communication.serve(self)
        memory.grantor = partial(find_grantor, communication)
        self.central = self.Central(memory, command, communication)
        command.belong_to(self)
        self._before_close: list[Callable[[], object]] = []
        _policies[id(self)] = self
        if _announce:
            self.announce()
            from laila.plugins.spelling import tell_unknown

            tell_unknown()

    def announce(self) -> None:
        """Tell observers that the policy is ready for use; it does so itself when it is built."""
        self._events.tell("laila_policy_initialized")

    def restore(self, uuid: str) -> None:
        """Take back the identity that an environment recorded; for rebuilding.

        Args:
            uuid: The uuid.
        """
        self.restore_identity(uuid)
        self.central.communication.policy_id = self.global_id

    def _repr_html_(self) -> str:
        """Show in a notebook the pools with their counters, the task forces and the peers."""
        from laila.notebook import fields_html
        from laila.tiering.display import chain_html

        central = self.central
        fields = {
            "id": self.global_id,
            "task forces": ", ".join(central.command.taskforces) or "made at first use",
            "peers": len(central.communication.peers),
            "state": "closed" if self.closed else "open",
        }
        pools = central.memory.router.pools.values()
        return fields_html(self.nickname or "policy", fields.items(), "".join(map(chain_html, pools)))

    @property
    def future_bank(self) -> FutureBank:
        """Where futures are found by id."""
        from laila.futures import future_bank

        return future_bank

    @property
    def environment(self) -> dict[str, Any]:
        """A JSON-able dict without secrets; :meth:`from_environment` rebuilds this policy from it."""
        from laila.policy.assembly import snapshot

        return snapshot(self)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, Any], *, secrets: Mapping[str, Any] | None = None
    ) -> Self:
        """Build the policy that ``environment`` describes. It is not made the active one.

        ``secrets`` gives the values that the snapshot left out, by the names it lists; what is not given is
        looked for in ``laila.args`` and ``LAILA_*`` as always. Raises
        :class:`~laila.errors.EnvironmentSnapshotError` (a ``ValueError``) that lists every fault, missing
        plugin and missing secret; nothing is left open then.

        Args:
            environment: The dict.
            secrets: The values of secret options, by the names that the dict lists.
        """
        from laila.policy.assembly import rebuild

        return rebuild(cls, environment, secrets or {})

    def before_close(self, call: Callable[[], object]) -> None:
        """Have ``call()`` done when the policy is closed, while all of its parts are still open."""
        self._before_close.append(call)

    def extend(
        self,
        new_pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> Pool:
        """Register a pool, or build the pool of a URL, and return it."""
        return self.central.memory.extend(new_pool, affinity=affinity, pool_nickname=pool_nickname, **options)

    def remember(
        self,
        global_id: str,
        *,
        global_fetch: bool = False,
        pool_subset: PoolSubset | None = None,
        hint: str | Pool | None = None,
        refresh: bool = False,
    ) -> Entry | None:
        """Fetch one entry itself, or None where it is nowhere. Blocks.

        Looks in the pool ``hint``, in the alpha pool, and with ``global_fetch`` in every pool by falling
        affinity and then every peer. ``pool_subset`` restricts the search here to ``hint`` and those pools:
        nicknames, ids, pools, or a dict of them. ``refresh`` asks the last tier of each chain alone. Where no
        place has the entry and one failed, its error is raised.
        """
        key = as_key(global_id)
        failure: BaseException | None = None
        for pool in self.central.memory.router.places(hint, pool_subset, everywhere=global_fetch):
            try:
                (outcome,) = remember(pool, [key], copy=True, refresh=refresh)
            except (LailaError, OSError) as error:
                outcome = error
            if not isinstance(outcome, BaseException):
                return outcome
            if not isinstance(outcome, EntryNotFoundError):
                failure = failure or outcome
        for peer in self.central.communication.peers.values() if global_fetch else ():
            try:
                if (entry := peer.find(key)) is not None:
                    return entry
            except (LailaError, OSError) as error:  # another peer may have it
                failure = failure or error
        if failure is not None:
            raise failure
        return None

    def memorize(
        self,
        entries: Entry | Iterable[Entry],
        *,
        require_local_update: bool = False,
        require_global_update: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Store entries in the alpha pool and return the future.

        ``require_local_update`` waits until they are stored here, ``require_global_update`` until every peer
        has them too; both then raise what failed.
        """
        if require_global_update and not hasattr(entries, "global_id"):
            entries = list(entries)
        future = self.central.memory.memorize(entries)
        if require_local_update or require_global_update:
            future.wait()
        if require_global_update:
            for sent in [
                peer.central.memory.memorize(entries) for peer in self.central.communication.peers.values()
            ]:
                sent.wait()
        return future

    def notify_entry(self, entry: Entry) -> None:
        """Tell observers of ``entry`` (hook ``laila_entry_created``). Writes nothing."""
        self._events.tell("laila_entry_created", entry=entry)

    def _close(self) -> None:
        """Finish what is queued, then close protocols, task forces and pools, in this order."""
        self._events.tell("laila_policy_closing")
        ends: list[Callable[[], object]] = [*self._before_close, self.central.memory.finish_submitting]
        ends += [
            part.close for part in (self.central.communication, self.central.command, self.central.memory)
        ]
        ends.append(self._deactivate)
        do_all(ends)

    def _deactivate(self) -> None:
        """Have no policy active where this one was, or a peer of it."""
        from laila.active import clear_policy, peek_policy
        from laila.futures.waiting import current_host

        active = peek_policy()
        if active is self or (
            active is not None and active.central.communication is self.central.communication
        ):
            # Itself, or a peer of it.
            pools = self.central.memory.router.pools.values()
            lasting = any(tier.blocking for pool in pools for tier in pool.chain())
            clear_policy(in_task=current_host() is not None, lasting=lasting)


def _default_taskforce() -> TaskForce:
    from laila.plugins import taskforces

    made: TaskForce = taskforces().get("threads")()
    return made


@atexit.register
def _close_at_exit() -> None:
    # Task forces have finished what was queued by now; pools still have files and servers to give back.
    from laila.active import peek_policy
    from laila.ending import keep_for_exit
    from laila.showing import logger

    active = peek_policy()
    if isinstance(active, DefaultPolicy) and not active.closed:
        from laila.policy.late import reopen

        keep_for_exit(lambda: reopen(active))
    for policy in open_policies():
        try:
            policy.close()
        except Exception:  # noqa: BLE001 - the interpreter goes down: said, and the other policies are closed
            logger("laila").exception("policy %s did not close cleanly", policy.global_id)
