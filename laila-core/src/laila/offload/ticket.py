"""The ticket that takes a policy to a worker: how it is written, and the policy that a worker builds from it.

The ticket is the environment (:mod:`laila.policy.environment`) without protocols, and without task forces
that use other processes. A pool that only the submitter has, for example a pool in memory, is in the ticket
with the reason. The worker uses such a pool through the submitter, if the submitter has a protocol that
others connect to. Otherwise the pool refuses every use with the reason, so it never seems empty.
"""

from __future__ import annotations

import json
import os
from platform import node
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary, ref

from laila.contract.pool import Pool
from laila.contract.taskforce import TaskForce
from laila.errors import EnvironmentSnapshotError, PluginError
from laila.identity import make_global_id
from laila.offload.home import Home, is_local
from laila.offload.worker import process_identity
from laila.plugins import pools, protocols, taskforces
from laila.policy.assembly import all_tiers, assemble, closed_on_failure, describe
from laila.policy.environment import (
    PoolModel,
    build,
    component,
    link,
    pool_model,
    read,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from laila.component.component import Component
    from laila.contract.protocol import Invitation, Protocol
    from laila.policy.policy import DefaultPolicy

__all__ = ["policy_from_ticket", "reachable_pools", "ticket_of"]

_SECRET = "secret"  # noqa: S105 - a name

_IN_MEMORY = "it lives in the memory of the process that submitted the task"
_TO_DO = (
    "; memorize to a pool that other processes share, or have that process listen: "
    "laila.communication.add_connection(laila.DefaultTCPIPProtocol(…))"
)
_READ_CACHE = (
    "; as one store, laila.tiers(…) in place of <<, each worker has a cache of its own in front of "
    "{origin!r}, which tasks may also use by itself"
)


def ticket_of(policy: DefaultPolicy, taskforce: str, *, share_secrets: bool = False) -> bytes:
    """Return what a task in another process needs to act through ``policy`` there, as JSON. Thread-safe.

    Args:
        policy: The policy of the submitter.
        taskforce: The uuid of the task force that runs the task.
        share_secrets: Put the secrets of the pools into the ticket, encrypted with ``aes-gcm`` under the key
            of ``LAILA_ENCRYPTION_KEY`` or of the ``secrets`` directory.

    Returns:
        The ticket, for :func:`policy_from_ticket`.
    """
    return _writer(policy).ticket(taskforce, share_secrets=share_secrets)


def reachable_pools(policy: DefaultPolicy) -> frozenset[str]:
    """Return the uuids of the pools that a task in another process reaches by itself. Thread-safe."""
    return _writer(policy).reachable()


# By id of the policy, which keeps its writer among what it does before it is closed.
_writers: WeakValueDictionary[int, _TicketWriter] = WeakValueDictionary()


def _writer(policy: DefaultPolicy) -> _TicketWriter:
    writer = _writers.get(id(policy))
    if writer is None or not writer.is_of(policy):
        writer = _writers[id(policy)] = _TicketWriter(policy)
        policy.before_close(writer.finish)
    return writer


class _TicketWriter:
    """Writes down one policy for the tasks that it submits. Thread-safe."""

    def __init__(self, policy: DefaultPolicy) -> None:
        self._policy = ref(policy)
        self._sealed: tuple[str, str] | None = None
        self.received: bytes | None = None
        """The ticket that the policy came with, where it was built in a worker."""

    def is_of(self, policy: DefaultPolicy) -> bool:
        """Whether this writes the tickets of ``policy``, and not of an older object at its address."""
        return self._policy() is policy

    def finish(self) -> None:
        """Wait for the tasks in other processes, while they can still come back to this one."""
        if self.received is None and self._invitation()[0] is not None:
            self._owner().central.command.finish_elsewhere()

    def _owner(self) -> DefaultPolicy:
        policy = self._policy()
        assert policy is not None, "a policy asks for its own ticket"
        return policy

    def reachable(self) -> frozenset[str]:
        """The uuids of the pools that another process reaches by itself."""
        return frozenset(
            pool.uuid
            for pool in all_tiers(self._owner())
            if pool.durability != "none" and pools().name_of(type(pool)) is not None
        )

    def ticket(self, taskforce: str, *, share_secrets: bool) -> bytes:
        """Write the ticket; see :func:`ticket_of`."""
        if self.received is not None:  # what tasks submit is on behalf of the same submitter
            return self.received
        policy = self._owner()
        reasons: dict[str, str] = {}
        every = all_tiers(policy)
        model = describe(
            policy,
            [self._pool(pool, reasons) for pool in every],
            [
                force
                for force in policy.central.command.taskforces.values()
                if force.in_process and taskforces().name_of(type(force)) is not None
            ],
        )
        protocol, invitation = self._invitation()
        ticket = {
            "global_id": policy.global_id,
            "process": process_identity(),
            "host": node(),
            "taskforce": taskforce,
            "policy": write(model),
            "reasons": reasons,
            "home": None
            if protocol is None or invitation is None
            else {
                "plugin": protocols().name_of(type(protocol)),
                "uuid": protocol.uuid,
                "uri": invitation.uri,
                "options": invitation.options,
            },
            "secrets": self._seal(policy.global_id, every, protocol) if share_secrets else None,
        }
        return json.dumps(ticket, sort_keys=True).encode()

    def _pool(self, pool: Pool, reasons: dict[str, str]) -> PoolModel:
        parts: tuple[str, str, dict[str, Any], list[str]]
        try:
            parts = component(pool, pools())
        except EnvironmentSnapshotError as error:
            parts = ("", pool.uuid, {} if pool.nickname is None else {"nickname": pool.nickname}, [])
            reasons[pool.uuid] = str(error)
        else:
            _place(pool, parts[2])
            # In a chain that is one store, a cache in memory is one of each worker's own.
            origin = pool.proxy_to
            if pool.durability == "none" and not (pool.write_through and origin is not None):
                more = "" if origin is None else _READ_CACHE.format(origin=origin.label)
                reasons[pool.uuid] = _IN_MEMORY + more
        return pool_model(self._owner().central.memory.router, pool, parts)

    def _invitation(self) -> tuple[Protocol | None, Invitation | None]:
        """The first protocol that others connect to, and how."""
        for protocol in self._owner().central.communication.connections.values():
            if protocols().name_of(type(protocol)) is None:
                continue  # nobody else could find its class
            if (invitation := protocol.invitation()) is not None:
                return protocol, invitation
        return None, None

    def _seal(self, global_id: str, every: list[Pool], protocol: Protocol | None) -> str:
        """The secrets of all pools and of a protocol, encrypted: the same text while they are the same."""
        from base64 import b64encode

        from laila.codec import encode
        from laila.transform import TransformationSequence

        secrets = {pool.uuid: pool.secrets() for pool in every if pool.missing_secrets()}
        if protocol is not None and (secret := protocol.peer_secret()) is not None:
            secrets[protocol.uuid] = {_SECRET: secret}
        plain = json.dumps(secrets, sort_keys=True)
        if self._sealed is None or self._sealed[0] != plain:
            blob = TransformationSequence(["aes-gcm"]).apply(encode(plain, key=global_id, pickle=False))
            self._sealed = plain, b64encode(bytes(blob)).decode()
        return self._sealed[1]


def _unseal(global_id: str, sealed: str | None) -> dict[str, dict[str, Any]]:
    """Raises :class:`~laila.errors.SecretError` where the key is not here."""
    if sealed is None:
        return {}
    from base64 import b64decode

    from laila.blob.blob import Blob
    from laila.codec import decode
    from laila.transform import TransformationSequence

    blob = TransformationSequence(["aes-gcm"]).invert(Blob.from_bytes(b64decode(sealed), key=global_id))
    secrets: dict[str, dict[str, Any]] = json.loads(str(decode(blob)))
    return secrets


def policy_from_ticket(received: bytes, taskforce: TaskForce | None = None) -> DefaultPolicy:
    """Build, in the process of a worker, the policy that a task came with.

    A pool that this process cannot reach, or that cannot be built here, refuses every use with the reason
    (:class:`~laila.errors.PoolUnreachableError`).

    Args:
        received: What :func:`ticket_of` gave.
        taskforce: The task force that runs the task here; it does what the task submits to that.

    Returns:
        The policy, which is not made the active one. Close it.

    Raises:
        EnvironmentSnapshotError: Where the policy cannot be built.
        SecretError: Where the ticket holds secrets, and their key is not here.
    """
    from laila.policy.policy import DefaultPolicy

    ticket: dict[str, Any] = json.loads(received)
    model = read(ticket["policy"])
    secrets = _unseal(ticket["global_id"], ticket["secrets"])
    home = _home(ticket, secrets)
    built: list[Component] = []
    with closed_on_failure(built):
        reasons = _reasons(model.pools, ticket)
        if home is None:
            reasons = {uuid: reason + _TO_DO for uuid, reason in reasons.items()}
        else:
            _spread(model.pools, reasons)
        here = {
            pool.uuid: _stand_in(pool, reasons[pool.uuid], home)
            if pool.uuid in reasons
            else _pool_here(pool, secrets.get(pool.uuid, {}), built)
            for pool in model.pools
        }
        link([pool for pool in model.pools if pool.uuid not in reasons], here, [])
        problems: list[str] = []
        forces = build(model.taskforces, taskforces(), TaskForce, "taskforces", {}, built, problems)  # type: ignore[type-abstract]
        nested = taskforce or _local_taskforce()
        built.append(nested)
        nested.restore_identity(ticket["taskforce"])
        forces[nested.uuid] = nested
        policy = assemble(DefaultPolicy, model, here, forces, nested)
        built.append(policy)
        _writer(policy).received = received
        policy.announce()
    return policy


def _home(ticket: Mapping[str, Any], secrets: Mapping[str, Mapping[str, Any]]) -> Home | None:
    """The way to the submitter, if it listens."""
    invited: dict[str, Any] | None = ticket["home"]
    if invited is None:
        return None
    secret: str | None = secrets.get(invited["uuid"], {}).get(_SECRET)
    return Home(invited, ticket["global_id"], secret, None if ticket["host"] == node() else ticket["host"])


def _reasons(models: Iterable[PoolModel], ticket: Mapping[str, Any]) -> dict[str, str]:
    """Why some pools cannot be what they were at the submitter, by uuid."""
    reasons = {
        model.uuid: ticket["reasons"].get(model.uuid) or _elsewhere(model, ticket["host"]) for model in models
    }
    return {uuid: reason for uuid, reason in reasons.items() if reason is not None}


def _spread(models: Iterable[PoolModel], reasons: dict[str, str]) -> None:
    """Leave a chain to the submitter from the first tier that the submitter must do: it stays whole."""
    by_uuid = {first.uuid: first for first in models}
    for first in by_uuid.values():
        tier: PoolModel | None = first
        while tier is not None and tier.uuid not in reasons:
            tier = by_uuid.get(tier.origin or "")
        if tier is not None:
            reasons[first.uuid] = reasons[tier.uuid]


def _pool_here(model: PoolModel, secrets: Mapping[str, Any], built: list[Component]) -> Pool:
    problems: list[str] = []
    made = build([model], pools(), Pool, "pools", secrets, built, problems)  # type: ignore[type-abstract]
    return _stand_in(model, "; ".join(problems), None) if problems else made[model.uuid]


def _stand_in(model: PoolModel, reason: str, home: Home | None) -> Pool:
    """Return a pool that is used through the submitter, or a pool that refuses every use."""
    from laila.offload.submitter_pool import SubmittersPool
    from laila.offload.unreachable_pool import UnreachablePool

    nickname = model.options.get("nickname")
    named = str(nickname) if nickname is not None else None
    pool: Pool
    if home is not None and model.registered:
        pool = SubmittersPool(home, make_global_id((Pool.scope,), model.uuid), reason, nickname=named)
    else:
        pool = UnreachablePool(reason, nickname=named)
    pool.restore_identity(model.uuid)
    return pool


def _place(pool: Pool, options: dict[str, Any]) -> None:
    """Say where a pool of files is also where that came from this process's own folders and environment."""
    path = getattr(pool, "path", None)
    if isinstance(path, str | os.PathLike) and hasattr(pool.settings, "path"):
        options["path"] = os.fspath(path)


def _elsewhere(model: PoolModel, host: str) -> str | None:
    """Why a pool cannot be what it was on the host ``host``; None where it can."""
    if host == node():
        return None
    path = model.options.get("path")
    if isinstance(path, str) and not os.path.exists(path):
        return f"{path} is a file or folder of the host {host}, and not on this one, {node()}"
    local = next(
        (value for value in model.options.values() if isinstance(value, str) and is_local(value)), None
    )
    return local and f"{local} is reached on the host {host} alone, and this one is {node()}"


def _local_taskforce() -> TaskForce:
    """What does the work that tasks submit, where their engine has nothing better: this process's threads."""
    from laila.taskforce.inline import InlineTaskForce

    try:
        made: TaskForce = taskforces().get("threads")()
    except PluginError:
        made = InlineTaskForce()
    return made
