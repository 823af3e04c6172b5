"""Look once more for the leaves that a manifest relies on and that this writer did not write itself.

Somebody may delete what nothing refers to while the manifest is on its way; :mod:`laila.upkeep.deleting` has
the other side.
"""

from __future__ import annotations

from laila.contract.pool import StoreOutcome
from laila.errors import EntryNotFoundError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from laila.central.plans import Plan
    from laila.contract.pool import Pool

    Outcome = str | BaseException

__all__ = ["look_again"]


def look_again(
    pool: Pool,
    plan: Plan,
    outcomes: dict[int, Outcome],
    relied: Collection[str],
    digests: Mapping[str, bytes],
    *,
    overwrite: bool,
    missing_ok: bool,
) -> None:
    """Store again what stored manifests rely on and what is gone; a manifest that lacks a leaf fails.

    Args:
        pool: The pool.
        plan: What was stored.
        outcomes: By place, what became of it; changed for a manifest that lacks a leaf.
        relied: The keys of the plan that were in the pool before.
        digests: The content digests of those of them that were compared.
        overwrite: Whether a manifest may have replaced another one, so that it stays.
        missing_ok: Whether leaves that were given as ids may be missing.
    """
    first = len(plan.keys) - plan.manifests
    needed: dict[int, list[str]] = {}
    for i, places in enumerate(plan.needs, first):
        if isinstance(outcomes.get(i), str):
            given = [] if missing_ok else plan.leaves[i]
            needed[i] = [*given, *(plan.keys[n] for n in places if plan.keys[n] in relied)]
    every = list(dict.fromkeys(key for keys in needed.values() for key in keys))
    if not every:
        return
    try:
        place_of = {key: i for i, key in enumerate(plan.keys[:first])}
        missing = [key for key, exists in zip(every, pool.present(every), strict=True) if not exists]
        gone = {key for key in missing if not _stored_again(pool, plan, place_of.get(key), digests.get(key))}
    except Exception as error:  # noqa: BLE001 - the outcome of the manifests: nobody knows whether they are whole
        outcomes.update(dict.fromkeys(needed, error))
        return
    for i, keys in needed.items():
        lost = [key for key in keys if key in gone]
        if lost:
            if not overwrite and plan.keys[i] not in relied:
                pool.delete([plan.keys[i]])
            outcomes[i] = EntryNotFoundError(
                f"while the manifest {plan.keys[i]} was stored, somebody deleted {lost[0]} from pool "
                f"{shown(pool.deciding_tier.label)}; memorize that entry and the manifest again",
                key=lost[0],
                pool=pool.deciding_tier.label,
                missing=lost,
            )


def _stored_again(pool: Pool, plan: Plan, place: int | None, digest: bytes | None) -> bool:
    """Store an entry of the plan again, as it was; return whether that could be done."""
    if place is None:
        return False
    try:
        blob = plan.snapshot(place)
    except NotImplementedError:
        return False
    if blob.key != plan.keys[place] or (digest is not None and blob.digest != digest):
        return False  # it was changed meanwhile
    return isinstance(pool.store([blob])[0], StoreOutcome)
