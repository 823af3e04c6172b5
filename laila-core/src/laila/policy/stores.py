"""The functions of ``laila`` that are about pools: chain them, list them, verify and repair them."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from laila.active import get_active_policy
from laila.calling import helpful
from laila.central.again import current_folder
from laila.central.memory import DefaultCentralMemory
from laila.central.naming import open_pool
from laila.errors import InvalidArgumentError, NotSupportedError, SettingsError
from laila.showing import shown
from laila.tracebacks import given_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from laila.contract.pool import Pool
    from laila.futures import Future
    from laila.tiering.listing import Listed
    from laila.tiering.repairing import RepairReport
    from laila.tiering.verifying import VerifyReport

__all__ = ["find", "ls", "repair", "set_alpha_pool", "tiers", "verify"]


@given_secrets
@helpful
def tiers(*pools: Pool | str, pool_nickname: str | None = None, affinity: float | None = None) -> Pool:
    """Chain ``pools``, the fastest first, into one store, register it, and return its first pool.

    ``memorize`` writes the last tier first, which decides conflicts and durability, and then fills the
    caches; ``remember`` looks from the first to the last and fills on the way back; ``forget`` deletes in the
    last and then in every tier. URLs are opened as :meth:`DefaultCentralMemory.extend` does; the
    same places under the same ``pool_nickname`` again give back the chain that is registered; without a
    nickname so do the same URLs. Raises
    ``ValueError`` for fewer than one pool, or for one that comes twice.

    Args:
        *pools: Pools or URLs.
        pool_nickname: The name of the store in this policy.
        affinity: Its priority, 0 by default.

    Returns:
        The first pool of the chain.
    """
    if not pools:
        raise SettingsError("tiers() chains at least one pool: laila.tiers(memory, hdf5)", option="pools")
    memory = own_memory()
    made_of = (tuple(pools), current_folder()) if all(isinstance(pool, str) for pool in pools) else None
    again = None if made_of is None else memory.router.made_before(pool_nickname, made_of)
    urls = [pool for pool in pools if isinstance(pool, str)] if made_of is not None else []
    again = again or memory.router.named_before(pool_nickname, urls, {})  # before a file is made
    if again is not None:  # a cell or module that sets up is run a second time
        return memory.extend(again, affinity=affinity, pool_nickname=pool_nickname)
    chain: list[Pool] = []
    before: list[tuple[Pool, Pool | None, bool]] = []
    try:
        for pool in pools:
            chain.append(open_pool(pool) if isinstance(pool, str) else check_pool(pool, "tiers"))  # noqa: PERF401 - closed below, should one fail
        if len({id(pool) for pool in chain}) != len(chain):
            raise SettingsError("a pool comes twice in tiers(): a chain has each pool once", option="pools")
        before = [(pool, pool.proxy_to, pool.write_through) for pool in chain]
        for cache, origin in pairwise(chain):
            cache.proxy_to = origin
        chain[0].write_through = True
        memory.extend(chain[0], affinity=affinity, pool_nickname=pool_nickname)
    except BaseException:
        for pool, linked, through in before:
            pool._origin, pool.write_through = linked, through
        for source, pool in zip(pools, chain, strict=False):
            if isinstance(source, str):
                pool.close()
        raise
    memory.router.note_made(chain[0], made_of)
    return chain[0]


def own_memory() -> DefaultCentralMemory:
    """Return the memory of the active policy. Raises :class:`NotSupportedError` where that is a peer."""
    memory = get_active_policy().central.memory
    if not isinstance(memory, DefaultCentralMemory):
        raise NotSupportedError(
            "the active policy is a peer, whose pools are its own: do this in its process, or activate a "
            "policy of this one"
        )
    return memory


def check_pool(pool: object, verb: str) -> Pool:
    from laila.contract.pool import Pool

    if not isinstance(pool, Pool):
        also = " or its URL" if verb == "tiers" else ""
        raise InvalidArgumentError(f"{verb}() takes a pool{also}, not a {type(pool).__name__}")
    return pool


@helpful
def ls(
    pool: Pool | None = None,
    pattern: str | None = None,
    *,
    where: str | Iterable[str] = (),
    named: bool = False,
    sort: str = "name",
) -> list[Listed]:
    """List what a pool holds, payloads unread. Blocks.

    Args:
        pool: The pool, without the tiers behind it. Of a chain that is one store, the last tier is listed. By
            default the alpha pool.
        pattern: The nickname or key, with ``*``, ``?`` and ``[…]``.
        where: A condition on the metadata that was stored with the entry, such as ``"lr>0.1"``, or several
            conditions that all hold.
        named: Leave out entries without a nickname.
        sort: ``name`` (nicknames first), ``bytes`` (the largest first) or ``created`` (the newest first).

    Returns:
        For each entry its ``key``, ``nickname``, ``kind``, ``type``, ``nbytes``, ``created``, ``metadata``.

    Raises:
        SettingsError: A condition or a sort is none.
        InvalidArgumentError: ``pool`` is no pool.
        NotSupportedError: The active policy is a peer.
    """
    from laila.tiering.listing import SORTS, list_pool

    if sort not in SORTS:
        raise SettingsError(f"there is no sort {shown(sort)}; there are {', '.join(SORTS)}", option="sort")
    chosen = own_memory().alpha_pool if pool is None else check_pool(pool, "ls")
    return sorted(list_pool(chosen.deciding_tier, pattern, where=where, named=named), key=SORTS[sort])


@helpful
def find(pattern: str | None = None, *, where: str | Iterable[str] = ()) -> list[Listed]:
    """Find entries in all pools of the active policy, by name or metadata; payloads unread. Blocks.

    Args:
        pattern: The nickname or key, with ``*``, ``?`` and ``[…]``.
        where: A condition on the metadata that was stored with the entry, such as ``"lr>0.1"``, or several
            conditions that all hold.

    Returns:
        What :func:`ls` gives, with ``pool``, the pool's name. An entry in several tiers is there for each.

    Raises:
        SettingsError: A condition is none.
        NotSupportedError: The active policy is a peer.
    """
    from laila.tiering.listing import SORTS, list_pool

    pools: dict[int, Pool] = {}
    for first in own_memory().router.pools.values():
        pools.update((id(tier), tier) for tier in first.chain())
    found = (entry for pool in pools.values() for entry in list_pool(pool, pattern, where=where))
    return sorted(found, key=SORTS["name"])


@helpful
def verify(
    pool: Pool,
    *,
    sample: float | None = None,
    part: tuple[int, int] | None = None,
    seed: int = 0,
    state: str | os.PathLike[str] | None = None,
    on_progress: Callable[[VerifyReport], object] | None = None,
) -> Future[VerifyReport]:
    """Read the entries of a pool, payloads included, to find what is damaged. Does not block.

    The pool alone is read, not the tiers behind it: verify each tier of ``pool.chain()``. Memory is bounded.

    Args:
        pool: The pool. Others may write to it meanwhile.
        sample: Read a share of the entries, above 0 and up to 1, that ``seed`` draws.
        part: Read part ``k`` of ``n``, as ``(k, n)``; an entry is always in the same part.
        seed: Another seed draws another sample.
        state: A file that remembers which entries are whole, so that an interrupted run goes on there.
        on_progress: Takes the report so far, in the thread that reads.

    Returns:
        The future of a report: ``whole``, ``damaged``, ``unread``, ``entries``, ``nbytes``.

    Raises:
        InvalidArgumentError: ``pool`` is no pool, or both ``sample`` and ``part`` are given.
        SettingsError: A share or part is none.
    """
    from laila.futures.task import spawn
    from laila.tiering.verifying import Selection, verify_pool

    selection = Selection(sample=sample, part=part, seed=seed)
    return spawn(
        partial(
            verify_pool,
            check_pool(pool, "verify"),
            selection=selection,
            state=state,
            on_progress=on_progress,
        )
    )


@helpful
def repair(
    pool: Pool,
    source: Pool | None = None,
    *,
    keys: Iterable[str] | None = None,
    keep: str | os.PathLike[str] | bool = True,
) -> Future[RepairReport]:
    """Replace the damaged entries of a pool with whole copies, and read them once more. Does not block.

    Args:
        pool: The pool to repair; not the tiers behind it. Others may write to it meanwhile.
        source: The pool that has whole copies; by default the next tier of the chain.
        keys: The damaged entries; where it is None, the whole pool is verified first.
        keep: The folder in which the damaged bytes are kept; True for ``damaged`` in laila's home, False to
            keep none.

    Returns:
        The future of a report: ``repaired``, ``failed``, ``kept``.

    Raises:
        InvalidArgumentError: An argument is no pool.
    """
    from laila.futures.task import spawn
    from laila.tiering.repairing import repair_pool

    if source is not None:
        check_pool(source, "repair")
    wanted = None if keys is None else list(keys)
    return spawn(partial(repair_pool, check_pool(pool, "repair"), source, keys=wanted, keep=keep))


@given_secrets
def set_alpha_pool(pool: Pool | str) -> None:
    """Make ``pool``, or the pool of a URL, the alpha pool: verbs that name no pool use it."""
    from laila.ending import begin_anew

    begin_anew()
    get_active_policy().central.memory.alpha_pool = pool
