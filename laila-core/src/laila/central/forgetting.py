"""Delete a manifest with those of its leaves that nothing else refers to.

The cost is linear in the keys and the manifests of the pool.
"""

from __future__ import annotations

from laila.central import reading
from laila.errors import CorruptEntryError, ManifestError
from laila.keys import may_evolve
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract.pool import Pool

    Outcome = BaseException | None

__all__ = ["forget_tree"]


def forget_tree(pool: Pool, key: str, leaves: Sequence[str], size: int | None = None) -> list[Outcome]:
    """Delete a manifest, and then its leaves, except those that another manifest, or a pin, refers to.

    The keys of the pool are listed, and each manifest that it holds is read: others may share the leaves.

    Args:
        pool: The pool, or the chain that is one store.
        key: The id of the manifest.
        leaves: The ids of its leaves.
        size: How many leaves are deleted at a time; None for as many as have 64 MiB.

    Returns:
        None or an error for each leaf, and then for the manifest. None for a leaf that stays.

    Raises:
        ManifestError: Another manifest, or a pin, refers to this manifest; or a manifest cannot be read, so
            that nobody knows what it shares. Nothing was deleted.
    """
    from laila.upkeep.deleting import GROUP_KEYS, Deleted, Watch, delete_unheld

    tier, every = pool.deciding_tier, list(dict.fromkeys(leaves))
    watch = Watch(tier, ignored=frozenset((key,)))
    watch.begin(every=True)
    watch.check()
    if (holder := watch.holder(key)) is not None:
        _refuse(pool, key, holder)
    (last,) = reading.forget(pool, [key], missing_ok=False)
    stored = _stored(tier, [leaf for leaf in every if watch.holder(leaf) is None])
    outcomes: dict[str, Outcome] = dict.fromkeys(every)
    deleted = Deleted()
    wanted = [each for keys in stored.values() for each in keys]
    try:
        delete_unheld(pool, watch, wanted, deleted, size=size or GROUP_KEYS)
        damaged = [each for each, error in deleted.unread.items() if isinstance(error, CorruptEntryError)]
        pool.delete(damaged)
        # What the deciding tier lacks may be in a cache.
        absent = [leaf for leaf, keys in stored.items() if not keys]
        outcomes.update(zip(absent, reading.forget(pool, absent, missing_ok=False), strict=True))
    except Exception as error:  # noqa: BLE001 - the outcome of the leaves that are not known to be gone
        gone = {*deleted.keys, *deleted.kept}
        outcomes.update(
            (leaf, error) for leaf, keys in stored.items() if not gone.issuperset(keys) or not keys
        )
    else:
        for leaf, keys in stored.items():
            for each in keys:
                unread = deleted.unread.get(each)
                if unread is not None and not isinstance(unread, CorruptEntryError):
                    outcomes[leaf] = unread
    return [*(outcomes[leaf] for leaf in leaves), last]


def _stored(tier: Pool, leaves: Sequence[str]) -> dict[str, list[str]]:
    """Return for each leaf the keys that it means: itself, or all evolutions of a variable."""
    exists = dict(zip(leaves, tier.exist_here(leaves) if leaves else (), strict=True))
    stored = {leaf: [leaf] if exists[leaf] else [] for leaf in leaves}
    stems = [leaf for leaf in leaves if not exists[leaf] and may_evolve(leaf)]
    for stem, numbers in zip(stems, tier.histories_here(stems), strict=True):
        stored[stem] = [f"{stem}-{n}" for n in numbers]
    return stored


def _refuse(pool: Pool, key: str, holder: str) -> None:
    from laila.upkeep.notes import is_pin

    if is_pin(holder):
        why = "it, or a manifest that it is in, is pinned: take the pin away first, laila.unpin(pool, name)"
    elif holder.startswith("LAILA:USE:"):
        why = "a writer has just come to rely on it: try again later"
    else:
        why = f"the manifest {holder} refers to it: forget that one first"
    raise ManifestError(f"{key} was not forgotten in pool {shown(pool.label)}: {why}", path=key)
