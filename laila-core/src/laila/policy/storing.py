"""The write side of the verbs: blobs into a pool, and what each outcome means for its entry."""

from __future__ import annotations

from laila.contract.pool import StoreOutcome
from laila.entry import EntryState, from_blob, to_blob
from laila.errors import EvolutionConflictError, ImmutableEntryError, ManifestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from laila.contract.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry import Entry

    Outcome = str | BaseException

__all__ = ["ON_CONFLICT", "store", "store_slices"]

ON_CONFLICT = (None, "next")
_NEXT_TRIES = 64


def store(
    pool: Pool,
    entries: Sequence[Entry],
    blobs: Sequence[Blob],
    *,
    overwrite: bool = False,
    on_conflict: Literal["next"] | None = None,
) -> list[Outcome]:
    """Store ``blobs``, the snapshots of ``entries``; return for each its global id or its error.

    ``overwrite`` replaces constants (an evolution is never replaced). ``on_conflict="next"`` stores a variable
    whose evolution another writer took under the next free one. Raises what the backend raises.
    """
    done = False
    try:
        if overwrite:
            found = _store_over(pool, blobs)
        else:
            found = pool.store(blobs)
        done = True
    finally:
        if not done:
            _mark(entries, EntryState.READY)
    outcomes: list[Outcome] = []
    for entry, blob, outcome in zip(entries, blobs, found, strict=True):
        if outcome is not StoreOutcome.CONFLICT:
            outcomes.append(blob.key)
            if entry._state is EntryState.POOLING:
                entry._state = EntryState.POOLED
            continue
        _mark((entry,), EntryState.READY)
        if blob.key[-37] == ":":
            outcomes.append(_immutable(blob.key, pool))
        elif on_conflict == "next":
            outcomes.append(_store_next(pool, entry, blob))
        else:
            outcomes.append(_conflict(blob.key, pool))
    return outcomes


def store_slices(
    pool: Pool, entries: Sequence[Entry], blobs: Sequence[Blob], size: int, *, overwrite: bool = False
) -> list[Outcome]:
    """Store a manifest: its leaves in slices of ``size``, then the manifest itself, which comes last.

    Where a leaf failed the manifest is not stored, so that what is stored refers to nothing that is not.
    """
    outcomes: list[Outcome] = []
    *_, manifest = blobs
    leaves = len(blobs) - 1
    while len(outcomes) < leaves:
        part = slice(len(outcomes), min(len(outcomes) + size, leaves))
        try:
            outcomes += store(pool, entries[part], blobs[part], overwrite=overwrite)
        except Exception as error:
            # The backend failed as a whole: what was not tried fails for the same reason, not by a wait each.
            _mark(entries[part.start :], EntryState.READY)
            outcomes += [error] * (leaves - len(outcomes))
    failed = next((one for one in outcomes if isinstance(one, BaseException)), None)
    if failed is None:
        return outcomes + store(pool, entries[-1:], blobs[-1:], overwrite=overwrite)
    refused = ManifestError(
        f"the manifest {manifest.key} was not stored, because an entry of it could not be: {failed}", path=manifest.key
    )
    refused.__cause__ = failed
    return [*outcomes, refused]


def _store_over(pool: Pool, blobs: Sequence[Blob]) -> list[StoreOutcome]:
    constants = [blob for blob in blobs if blob.key[-37] == ":"]
    variables = [blob for blob in blobs if blob.key[-37] != ":"]
    replaced = iter(pool.store(constants, replace=True) if constants else ())
    created = iter(pool.store(variables) if variables else ())
    return [next(replaced if blob.key[-37] == ":" else created) for blob in blobs]


def _store_next(pool: Pool, entry: Entry, blob: Blob) -> Outcome:
    """Store the snapshot under the evolution after the newest, again while other writers are faster."""
    payload = from_blob(blob)
    stem = blob.key.rpartition("-")[0]
    for _ in range(_NEXT_TRIES):
        numbers = pool.history(stem)
        payload._evolution = numbers[-1] + 1 if numbers else 0
        moved = to_blob(payload)
        if pool.store([moved])[0] is not StoreOutcome.CONFLICT:
            if entry.global_id == blob.key:
                entry._evolution = payload._evolution
                entry._state = EntryState.POOLED
            return moved.key
    return _conflict(blob.key, pool)


def _mark(entries: Sequence[Entry], state: EntryState) -> None:
    for entry in entries:
        if entry._state is EntryState.POOLING:
            entry._state = state


def _immutable(key: str, pool: Pool) -> ImmutableEntryError:
    return ImmutableEntryError(
        f"{key} is a constant and pool {pool.label!r} has it with another content, which was kept; "
        "store the new content under an id of its own, make it a variable(…), or pass overwrite=True",
        key=key,
        pool=pool.label,
    )


def _conflict(key: str, pool: Pool) -> EvolutionConflictError:
    return EvolutionConflictError(
        f"another writer stored {key} first in pool {pool.label!r}, with another content, which was kept; "
        'remember the entry, evolve it and memorize again, or memorize(…, on_conflict="next")',
        key=key,
        pool=pool.label,
    )
