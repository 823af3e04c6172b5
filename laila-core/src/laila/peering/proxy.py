"""RemotePolicyProxy: a policy elsewhere, used as if it were here.

``laila.peers[id]`` is one. Its verbs pack entries here and unpack them here; what crosses is blobs. Made the
active policy, every verb of ``laila`` runs over there.
"""

from __future__ import annotations

from laila.central.ids import as_key
from laila.central.interface import PolicyVerbs
from laila.central.naming import subset_names
from laila.contract.protocol import Request
from laila.errors import NotSupportedError, PeerError
from laila.futures.remote import RemoteFuture
from laila.identity import Identifiable, parse_global_id
from laila.peering.answers import opened
from laila.peering.command import RemoteCommand
from laila.peering.memory import RemoteMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, NoReturn

    from laila.central.naming import PoolSubset
    from laila.contract.pool import Pool
    from laila.contract.protocol import Protocol
    from laila.entry import Entry
    from laila.futures import Future, FutureBank, GroupFuture
    from laila.peering.communication import DefaultCentralCommunication

__all__ = ["RemotePolicyProxy"]


class RemotePolicyProxy(Identifiable, PolicyVerbs):
    """A policy of another process. Thread-safe.

    ``central.memory`` has the verbs, ``central.command`` the task force, over there. Every call that waits
    raises :class:`~laila.errors.PeerDisconnectedError` when the connection is gone. ``timeout`` (seconds,
    None: no limit) is that of each call that begins while it is set.
    """

    class Central:
        """The parts of a peer: its memory and its command. The communication is this process's own."""

        __slots__ = ("command", "communication", "memory")

        def __init__(
            self, memory: RemoteMemory, command: RemoteCommand, communication: DefaultCentralCommunication
        ) -> None:
            self.memory = memory
            self.command = command
            self.communication = communication

    central: Central

    def __init__(self, peer: str, protocol: Protocol, here: DefaultCentralCommunication) -> None:
        scopes, uuid, _ = parse_global_id(peer)
        self._scopes = scopes
        self._uuid = uuid
        self._evolution = None
        self._nickname = None
        self._peer = self.global_id
        self._here = here
        self._ways = [protocol]
        self._last = protocol
        self.timeout: float | None = None
        self.central = self.Central(RemoteMemory(self), RemoteCommand(self), here)

    # -- the way there ---------------------------------------------------------------------------------------

    @property
    def protocol(self) -> Protocol:
        """The protocol that reaches the peer, or the last protocol that did."""
        return self._last

    def add_way(self, protocol: Protocol) -> None:
        """Use another protocol that reaches the peer from now on; for the communication.

        Args:
            protocol: The protocol.
        """
        self._ways = [*(way for way in self._ways if way is not protocol), protocol]
        self._last = protocol

    def remove_way(self, protocol: Protocol) -> bool:
        """Stop using a protocol that no longer reaches the peer.

        Args:
            protocol: The protocol.

        Returns:
            True if another protocol reaches the peer.
        """
        self._ways = [way for way in self._ways if way is not protocol]
        if self._ways:
            self._last = self._ways[-1]
        return bool(self._ways)

    def call(
        self,
        path: str,
        args: Sequence[object] = (),
        kwargs: dict[str, object] | None = None,
        *,
        convert: Callable[[Any], Any] | None = None,
        repeatable: bool = False,
    ) -> RemoteFuture[Any]:
        """Call an exported method by its dotted path. Does not block.

        Args:
            path: The dotted path of the method.
            args: Positional arguments.
            kwargs: Keyword arguments.
            convert: Takes the answer and gives the result.
            repeatable: Whether the call may be sent again after a lost connection.

        Returns:
            The future of the result.
        """
        future: RemoteFuture[Any] = RemoteFuture(convert)
        request = Request(path.split("."), args, kwargs, repeatable=repeatable, timeout=self.timeout)
        self.protocol.send(self._peer, request, future)
        return future

    # -- the policy ------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Say what the peer offers: its pools, the functions it exports, and the role it granted. Blocks.

        Returns:
            The description, as plain data.
        """
        return _an_object(self.call("describe", repeatable=True).wait())

    def find(self, global_id: str) -> Entry | None:
        """Return an entry of any pool of the peer. Blocks.

        Args:
            global_id: The id of the entry.

        Returns:
            The entry, or None.
        """
        return self._find(global_id, {"everywhere": True})

    def remember(
        self,
        global_id: str,
        *,
        global_fetch: bool = False,
        pool_subset: PoolSubset | None = None,
        hint: str | Pool | None = None,
        refresh: bool = False,
    ) -> Entry | None:
        """Fetch one entry itself, or None; see :meth:`DefaultPolicy.remember`. Blocks.

        ``global_fetch`` looks in every pool over there, and not at the peers of the peer. The pools are
        the peer's; with ``refresh`` the last tier of their chain alone is asked.
        """
        kwargs: dict[str, object] = {"everywhere": global_fetch}
        if refresh:
            kwargs["refresh"] = True
        if hint is not None:
            kwargs["hint"] = str(hint) if isinstance(hint, str) else hint.global_id
        if pool_subset is not None:
            names = subset_names(pool_subset)
            kwargs["pool_subset"] = [name if isinstance(name, str) else name.global_id for name in names]
        return self._find(global_id, kwargs)

    def _find(self, global_id: str, kwargs: dict[str, object]) -> Entry | None:
        key = as_key(global_id)
        outcome = opened(self.call("find", [key], kwargs, repeatable=True).wait(), [key], missing_ok=True)
        if isinstance(outcome, BaseException):
            raise outcome
        entry: Entry | None = outcome
        return entry

    def memorize(
        self,
        entries: Entry | Iterable[Entry],
        *,
        require_local_update: bool = False,
        require_global_update: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Store entries in the alpha pool over there; the flags wait until they are stored."""
        future = self.central.memory.memorize(entries)
        if require_local_update or require_global_update:
            future.wait()
        return future

    @property
    def environment(self) -> dict[str, Any]:
        """The environment of the peer, without its secrets; needs the role ``admin``. Blocks."""
        return _an_object(self.call("environment", repeatable=True).wait())

    @property
    def future_bank(self) -> FutureBank:
        """Where futures are found by id: those of this process."""
        from laila.futures import future_bank

        return future_bank

    def extend(
        self,
        new_pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> NoReturn:
        """Raise :class:`NotSupportedError`: a policy's pools are its own."""
        raise NotSupportedError(
            f"pools are added where they are: extend the policy {self.global_id} in its own process"
        )

    def notify_entry(self, entry: Entry) -> None:
        """Tell observers of ``entry``: those here."""
        self._here.policy.notify_entry(entry)

    @property
    def pickle(self) -> bool:
        """Whether payloads that need code to come back may be sent: the policy here says it."""
        return self._here.policy.central.memory.pickle

    @property
    def closed(self) -> bool:
        """Whether the policy here, which this belongs to, was closed."""
        return self._here.closed

    def run_here(self, tasks: Sequence[Any]) -> None:
        """Let the task force of the policy here run tasks that are not the peer's.

        Args:
            tasks: The tasks.
        """
        self._here.policy.central.command.dispatch(tasks)

    def __repr__(self) -> str:
        return f"<RemotePolicyProxy {self.global_id}{'' if self._ways else ' disconnected'}>"


def _an_object(answer: object) -> dict[str, Any]:
    if type(answer) is not dict:
        raise PeerError(f"the peer answered with a {type(answer).__name__} for an object", peer="")
    return answer
