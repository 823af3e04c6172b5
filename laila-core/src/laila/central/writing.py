"""How blobs are stored in a pool, for a verb of this process and for a peer.

This module does not know entries. :mod:`laila.central.marking` says what an outcome means for an entry.
"""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.central.checking import stays_as_it_is, taken_names
from laila.central.describing import is_same_manifest
from laila.contract.pool import StoreOutcome
from laila.errors import EvolutionConflictError, ImmutableEntryError
from laila.keys import is_evolution, is_manifest, stem_of
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from laila.contract.pool import Pool

    Outcome = str | BaseException
    Renumber = Callable[[Blob, int], Blob | None]

__all__ = ["ON_CONFLICT", "conflict", "renumbered", "store", "store_free", "store_over"]

ON_CONFLICT = (None, "next")
# A try fails only because another writer's succeeded: only a pool that breaks its word gets here.
NEXT_TRIES = 10_000
_CREATED, _SAME = StoreOutcome.CREATED, StoreOutcome.SAME


def renumbered(blob: Blob, number: int) -> Blob | None:
    """Return a blob of a variable under another evolution; None where a signature covers its id."""
    if blob.signature is not None:
        return None
    key = f"{stem_of(blob.key)}-{number}"
    return Blob(key, blob.tree, blob.buffers, blob.nickname, blob._meta, (), None, blob.digest, blob.notes)


def store(
    pool: Pool,
    blobs: Sequence[Blob],
    *,
    overwrite: bool = False,
    on_conflict: str | None = None,
    renumber: Renumber = renumbered,
    held: Callable[[int], bool] | None = None,
) -> list[Outcome]:
    """Store ``blobs``; return for each the key under which it is stored, or its error.

    A blob whose nickname is taken by what is of the other kind is refused. Raises what the backend raises.

    Args:
        pool: The pool.
        blobs: Blobs of entries without manifests.
        overwrite: Replace constants. An evolution is never replaced.
        on_conflict: ``"next"`` stores a variable whose evolution another writer took under the next free one.
        renumber: Gives a blob another evolution, or None where that cannot be.
        held: Says of the place of a blob whether its entry is in the pool: its name is not looked for then.
    """
    taken: dict[int, Outcome] = {**taken_names(pool, blobs, held)}
    next_blob = renumber if on_conflict == "next" else None
    same: list[str] = []
    free = [i for i in range(len(blobs)) if i not in taken]
    stored = store_free(pool, [blobs[i] for i in free] if taken else blobs, overwrite, next_blob, same)
    if same:
        from laila.upkeep.notes import note_use

        note_use(pool, same)
    if not taken:
        return stored
    taken.update(zip(free, stored, strict=True))
    return [taken[i] for i in range(len(blobs))]


def store_free(
    pool: Pool,
    blobs: Sequence[Blob],
    overwrite: bool = False,
    next_blob: Renumber | None = None,
    same: list[str] | None = None,
) -> list[Outcome]:
    """Store blobs whose names are known to be free. ``next_blob`` renumbers those whose key is taken.

    ``same`` takes the keys of those that were there already.
    """
    if not blobs:
        return []
    answers = store_over(pool, blobs) if overwrite else pool.store(blobs)
    outcomes: list[Outcome] = []
    for blob, answer in zip(blobs, answers, strict=True):
        if answer is _CREATED or answer is _SAME:
            outcomes.append(blob.key)
            if answer is _SAME and same is not None:
                same.append(blob.key)
        elif isinstance(answer, BaseException):
            outcomes.append(answer)
        elif is_manifest(blob.key) and is_same_manifest(pool, blob):
            outcomes.append(blob.key)
            if same is not None:
                same.append(blob.key)
        elif next_blob is not None and is_evolution(blob.key):
            outcomes.append(_store_next(pool, blob, next_blob))
        else:
            outcomes.append(conflict(blob, pool))
    return outcomes


def _store_next(pool: Pool, blob: Blob, next_blob: Renumber) -> Outcome:
    """Store a blob under the evolution after the newest, again while other writers are faster."""
    stem = stem_of(blob.key)
    for _ in range(NEXT_TRIES):
        (numbers,) = pool.history([stem])
        again = next_blob(blob, numbers[-1] + 1 if numbers else 0)
        if again is None:
            break
        (answer,) = pool.store([again])
        if isinstance(answer, BaseException):
            return answer
        if answer is not StoreOutcome.CONFLICT:
            return again.key
    return conflict(blob, pool)


def store_over(pool: Pool, blobs: Sequence[Blob]) -> list[object]:
    """Store ``blobs`` in place of stored ones; an evolution is never replaced.

    A blob that is stored with the same content is not written again.
    """
    outcomes: list[object] = [None] * len(blobs)
    constants = [i for i, blob in enumerate(blobs) if not is_evolution(blob.key)]
    same = stays_as_it_is(pool, [blobs[i] for i in constants]) if constants else []
    replaced = [i for i, stays in zip(constants, same, strict=True) if not stays]
    rest = [i for i in range(len(blobs)) if i not in set(replaced)]
    for i, outcome in zip(rest, pool.store([blobs[i] for i in rest]) if rest else (), strict=True):
        outcomes[i] = outcome
        if not is_evolution(blobs[i].key) and outcome not in {_CREATED, _SAME}:
            replaced.append(i)
    batch = [blobs[i] for i in replaced]
    for i, outcome in zip(replaced, pool.store(batch, replace=True) if batch else (), strict=True):
        outcomes[i] = outcome
    return outcomes


def conflict(blob: Blob, pool: Pool) -> ImmutableEntryError | EvolutionConflictError:
    """Return the error of a blob under whose id another content is stored."""
    return _conflict(blob, pool) if is_evolution(blob.key) else _immutable(blob, pool)


def _immutable(blob: Blob, pool: Pool) -> ImmutableEntryError:
    where, name = pool.deciding_tier.label, f" ({shown(blob.nickname)})" if blob.nickname else ""
    return ImmutableEntryError(
        f"{blob.key}{name} is a constant and pool {shown(where)} has it with another content, which was "
        "kept; "
        "store the new content under an id of its own, make it a variable(…), or pass overwrite=True",
        key=blob.key,
        pool=where,
    )


def _conflict(blob: Blob, pool: Pool) -> EvolutionConflictError:
    where, name = pool.deciding_tier.label, f" ({shown(blob.nickname)})" if blob.nickname else ""
    return EvolutionConflictError(
        f"another writer stored {blob.key}{name} first in pool {shown(where)}, with another content, "
        "which was "
        'kept; remember the entry, evolve it and memorize again, or memorize(…, on_conflict="next")',
        key=blob.key,
        pool=where,
    )
