"""The module-level functions of ``laila``: each acts through the active policy, or builds an entry."""

from __future__ import annotations

from laila.active import get_active_policy
from laila.entry import Entry
from laila.errors import SettingsError
from laila.identity import universal_namespace
from laila.policy.memory import open_pool
from laila.policy.policy import local_policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal, overload

    from laila.contract.pool import Pool
    from laila.entry import Manifest
    from laila.futures import Future, GroupFuture
else:

    def overload(fn):
        return fn


__all__ = [
    "add_peer",
    "add_tcpip_peer",
    "constant",
    "contingent",
    "forget",
    "history",
    "local_policies",
    "memorize",
    "remember",
    "remote_policies",
    "terminate",
    "tiers",
    "universe",
    "variable",
]

constant = Entry.constant
variable = Entry.variable
contingent = Entry.contingent


@overload
def memorize(entries: Manifest, **kwargs: Any) -> GroupFuture: ...
@overload
def memorize(
    entries: Entry,
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    overwrite: bool = ...,
    on_conflict: Literal["next"] | None = ...,
    copy: bool = ...,
) -> Future[str]: ...
@overload
def memorize(
    entries: Iterable[Entry],
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    overwrite: bool = ...,
    on_conflict: Literal["next"] | None = ...,
    copy: bool = ...,
) -> GroupFuture: ...
def memorize(entries: Any, **kwargs: Any) -> Any:
    """Store entries in a pool of the active policy; see :meth:`DefaultCentralMemory.memorize`."""
    return get_active_policy().central.memory.memorize(entries, **kwargs)


@overload
def remember(
    entry_ids: Entry | str,
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
) -> Future[Entry]: ...
@overload
def remember(
    entry_ids: Iterable[Entry | str],
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
) -> GroupFuture: ...
@overload
def remember(
    *,
    nickname: str,
    scope: Literal["MANIFEST"],
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
) -> Future[Manifest]: ...
@overload
def remember(
    *,
    nickname: str,
    scope: Literal["ENTRY"] | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
) -> Future[Any]: ...
@overload
def remember(
    *,
    nickname: Iterable[str],
    scope: Literal["ENTRY", "MANIFEST"] | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
) -> GroupFuture: ...
def remember(entry_ids: Any = None, **kwargs: Any) -> Any:
    """Fetch entries from a pool of the active policy; see :meth:`DefaultCentralMemory.remember`."""
    return get_active_policy().central.memory.remember(entry_ids, **kwargs)


@overload
def forget(
    entry_ids: Entry | str,
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> Future[None]: ...
@overload
def forget(
    entry_ids: Iterable[Entry | str],
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> GroupFuture: ...
@overload
def forget(
    *,
    nickname: str,
    scope: Literal["ENTRY", "MANIFEST"] | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> Future[None]: ...
@overload
def forget(
    *,
    nickname: Iterable[str],
    scope: Literal["ENTRY", "MANIFEST"] | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> GroupFuture: ...
def forget(entry_ids: Any = None, **kwargs: Any) -> Any:
    """Delete entries from a pool of the active policy; see :meth:`DefaultCentralMemory.forget`."""
    return get_active_policy().central.memory.forget(entry_ids, **kwargs)


def history(
    entry_id: Entry | str | None = None,
    *,
    nickname: str | None = None,
    pool_id: str | None = None,
    pool_nickname: str | None = None,
    affinity: float | None = None,
) -> list[int]:
    """Return the stored evolutions of a variable, ascending. Blocks."""
    return get_active_policy().central.memory.history(
        entry_id, nickname=nickname, pool_id=pool_id, pool_nickname=pool_nickname, affinity=affinity
    )


def tiers(*pools: Pool | str, pool_nickname: str | None = None, affinity: float | None = None) -> Pool:
    """Chain ``pools``, the fastest first, into one store, register it, and return its first pool.

    ``memorize`` writes the last tier first, which decides conflicts and durability, and then fills the caches;
    ``remember`` looks from the first to the last and fills on the way back; ``forget`` deletes in the last and
    then in every tier. URLs are opened as :meth:`DefaultCentralMemory.extend` does. Raises ``ValueError`` for
    fewer than one pool, or for one that comes twice.
    """
    if not pools:
        raise SettingsError("tiers() chains at least one pool: laila.tiers(memory, hdf5)", option="pools")
    memory = get_active_policy().central.memory
    opened: list[Pool] = []
    own: list[Pool] = []
    try:
        for pool in pools:
            if isinstance(pool, str):
                pool = open_pool(pool)
                own.append(pool)
            opened.append(pool)
        if len({id(pool) for pool in opened}) != len(opened):
            raise SettingsError("a pool comes twice in tiers(): a chain has each pool once", option="pools")
        for cache, origin in zip(opened, opened[1:], strict=False):
            cache.proxy_to = origin
        opened[0].write_through = True
        memory.extend(opened[0], affinity=affinity, pool_nickname=pool_nickname)
    except BaseException:
        for pool in own:
            pool.close()
        raise
    return opened[0]


def add_peer(uri: str, secret: str) -> str:
    """Connect to the policy at ``uri`` and return its global id; see :meth:`DefaultCentralCommunication.add_peer`."""
    return get_active_policy().central.communication.add_peer(uri, secret)


def add_tcpip_peer(host: str, port: int, secret: str) -> str:
    """Connect to the policy at ``host`` and ``port``; see :meth:`DefaultCentralCommunication.add_peer`."""
    return get_active_policy().central.communication.add_tcpip_peer(host, port, secret)


def remote_policies() -> dict[str, Any]:
    """Return the peers of all local policies by global id."""
    return {gid: peer for policy in local_policies().values() for gid, peer in policy.central.communication.peers.items()}


def universe() -> Mapping[str, Any]:
    """Return every policy this process knows, its own and remote ones, by global id."""
    return {**remote_policies(), **local_policies()}


def terminate() -> None:
    """Close every policy of this process: queued work is finished, protocols, task forces and pools are closed.

    The next use builds a new policy. Idempotent; the first error is raised after everything was closed.
    """
    failure: Exception | None = None
    for policy in local_policies().values():
        try:
            policy.close()
        except Exception as error:  # the others are closed first
            failure = failure or error
    if failure is not None:
        raise failure


def __getattr__(name: str) -> Any:
    if name == "LAILA_UNIVERSAL_NAMESPACE":
        return universal_namespace()
    if name == "__version__":
        from importlib_metadata import version

        return version("laila-core")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
