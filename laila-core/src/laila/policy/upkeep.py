"""The functions of ``laila`` that keep a pool small.

Each acts on one pool, without the tiers behind it; of a chain that is one store, on the last tier.
"""

from __future__ import annotations

from functools import partial

from laila.calling import helpful
from laila.futures.task import spawn
from laila.policy.stores import check_pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.contract.pool import Pool
    from laila.futures import Future
    from laila.upkeep.collecting import CollectReport
    from laila.upkeep.expiring import ExpireReport
    from laila.upkeep.pins import Pin
    from laila.upkeep.usage import UsageReport

__all__ = ["compact", "du", "expire", "gc", "pin", "pins", "unpin"]


@helpful
def du(pool: Pool) -> Future[UsageReport]:
    """Count the bytes of a pool by kind, nickname and manifest, payloads unread. Does not block.

    Bytes that several manifests refer to are counted once in the total, and shown as shared.

    Args:
        pool: The pool, without the tiers behind it. Of a chain that is one store, the last tier is counted.

    Returns:
        The future of a report: ``nbytes``, ``entries``, ``kinds``, ``names``, ``shared``, ``loose``.

    Raises:
        InvalidArgumentError: ``pool`` is no pool.
    """
    from laila.upkeep.usage import measure_pool

    return spawn(partial(measure_pool, check_pool(pool, "du").deciding_tier))


@helpful
def gc(
    pool: Pool,
    *,
    delete: bool = False,
    grace: str | float = "1d",
    inputs: bool = False,
    alone: bool = False,
) -> Future[CollectReport]:
    """Find what nothing named or pinned refers to, and with ``delete`` delete it. Does not block.

    What has a nickname is kept, and so are pins, all that kept manifests refer to, and keys that are no ids.
    Others may write to the pool meanwhile. Manifests in other pools do not count: pin what they refer to.

    Args:
        pool: The pool, without the tiers behind it. In a chain that is one store, all tiers delete.
        delete: Delete the candidates whose grace period is over; otherwise nothing is changed.
        grace: How long an entry has to have been a candidate, or unused: ``"1d"``, ``"12h"``, or seconds.
        inputs: Whether what is kept keeps the inputs that its provenance names.
        alone: Say that nobody writes to the pool; only then ``grace`` may be 0.

    Returns:
        The future of a report: ``candidates``, ``due``, ``deleted``, ``nbytes``, ``kept``, ``unread``.

    Raises:
        InvalidArgumentError: ``pool`` is no pool.
        SettingsError: ``grace`` is no length of time, or 0 without ``alone``.
    """
    from laila.upkeep.collecting import check_grace, collect

    seconds = check_grace(grace, alone=alone)
    return spawn(partial(collect, check_pool(pool, "gc"), delete=delete, grace=seconds, inputs=inputs))


@helpful
def pin(pool: Pool, name: str, *, evolution: int | None = None, reason: str = "") -> list[str]:
    """Keep what a pool has under a name, whatever a policy or a collection says. Blocks.

    The pin is stored in the pool, and is copied with it. What a pinned manifest refers to is kept, too.

    Args:
        pool: The pool.
        name: A nickname or an id.
        evolution: One evolution of a variable; by default all of them, later ones too.
        reason: Why, for people.

    Returns:
        The ids that are pinned; two, where an entry and a manifest have one nickname.

    Raises:
        EntryNotFoundError: The pool has nothing of this name.
        InvalidArgumentError: An argument is of another type.
    """
    from laila.upkeep.pins import pin_in

    return pin_in(check_pool(pool, "pin").deciding_tier, name, evolution=evolution, reason=reason)


@helpful
def unpin(pool: Pool, name: str, *, evolution: int | None = None) -> list[str]:
    """Take a pin away. Blocks.

    Args:
        pool: The pool.
        name: The nickname or id that was pinned.
        evolution: The evolution that was pinned.

    Returns:
        The ids whose pins are gone; none where nothing was pinned under the name.

    Raises:
        InvalidArgumentError: An argument is of another type.
    """
    from laila.upkeep.pins import unpin_in

    return unpin_in(check_pool(pool, "unpin").deciding_tier, name, evolution=evolution)


@helpful
def pins(pool: Pool) -> list[Pin]:
    """List the pins of a pool, the oldest first. Blocks: the pool lists its keys.

    Args:
        pool: The pool.

    Returns:
        For each pin its ``key``, ``name``, ``reason`` and ``time``.

    Raises:
        InvalidArgumentError: ``pool`` is no pool.
    """
    from laila.upkeep.pins import list_pins

    return list_pins(check_pool(pool, "pins").deciding_tier)


@helpful
def expire(
    pool: Pool,
    name: str,
    *,
    keep_last: int | None = None,
    older_than: str | float | None = None,
    keep_best: str | None = None,
    dry_run: bool = False,
) -> Future[ExpireReport]:
    """Delete old evolutions of a variable, or old runs of one family of names. Does not block.

    An evolution or run goes if it is not among the last, is old enough, and is not the best. What is pinned
    stays, and what a manifest refers to that stays. A run that goes takes those of its leaves with it that
    have no name and that nothing else refers to.

    Args:
        pool: The pool. In a chain that is one store, all tiers delete.
        name: A variable; a pattern such as ``run-*``; or ``run`` for ``run-1``, ``run-2``, …
        keep_last: How many of the last are kept; by default one evolution of a variable, and no run.
        older_than: Only what is older goes: ``"30d"``, or seconds.
        keep_best: Keep the one with the best value in its metadata: ``"loss"`` or ``"accuracy:max"``.
        dry_run: Change nothing.

    Returns:
        The future of a report: ``expired``, ``kept`` (with the reason), ``deleted``, ``nbytes``, ``unread``.

    Raises:
        InvalidArgumentError: ``pool`` is no pool.
        SettingsError: The policy says nothing, or what is no policy.
    """
    from laila.upkeep.expiring import Policy, expire_in

    policy = Policy(keep_last, older_than, keep_best)
    return spawn(partial(expire_in, check_pool(pool, "expire"), name, policy, dry_run=dry_run))


@helpful
def compact(pool: Pool) -> Future[int | None]:
    """Give back the room of deleted entries that a pool's file still takes. Does not block.

    Args:
        pool: The pool, without the tiers behind it.

    Returns:
        The future of the number of bytes; None where the pool gives them back at once: nothing is to do.

    Raises:
        InvalidArgumentError: ``pool`` is no pool.
    """
    from laila.upkeep.compacting import compact_pool

    return spawn(partial(compact_pool, check_pool(pool, "compact").deciding_tier))
