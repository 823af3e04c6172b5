"""The state of entries: on their way to a pool, stored there, or ready again."""

from __future__ import annotations

from laila.entry.construction import EntryState
from laila.keys import number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from laila.entry import Entry
    from laila.identity import Identifiable

__all__ = ["came_from", "is_pooled", "mark", "note_filed", "note_origin", "note_stored", "unmark"]


_POOLING, _POOLED, _READY = EntryState.POOLING, EntryState.POOLED, EntryState.READY


def mark(entries: Iterable[Entry]) -> None:
    """Say of entries that they are on their way to a pool."""
    for entry in entries:
        entry._state = _POOLING


def unmark(entries: Iterable[Entry]) -> None:
    """Say of entries that are not on their way to a pool any more that they are ready for it."""
    for entry in entries:
        if entry._state is _POOLING:
            entry._state = _READY


def note_stored(
    entries: Sequence[Entry], keys: Sequence[str], outcomes: Sequence[object], pool: Identifiable | None
) -> None:
    """Say of entries what became of their snapshots.

    Args:
        entries: The entries.
        keys: The keys of their snapshots.
        outcomes: For each the key under which it is stored, or its error.
        pool: The pool; None for a peer's.
    """
    for entry, key, outcome in zip(entries, keys, outcomes, strict=True):
        if not isinstance(outcome, str):
            unmark((entry,))
            continue
        if entry._evolution is not None and entry.global_id != key:
            continue  # it evolved since, and is not what was stored
        if outcome != key:  # a later evolution
            entry._evolution = number_of(outcome)
        if entry._state is _POOLING:
            entry._state = _POOLED
            if pool is not None:
                entry._pool = pool.uuid


def came_from(entry: Entry, pool: Identifiable) -> bool:
    """Whether ``entry`` was given to ``pool`` by this process, or came from it."""
    return getattr(entry, "_pool", None) == pool.uuid


def is_pooled(entry: Entry, pool: Identifiable) -> bool:
    """Whether this process stored ``entry``, as it is, in ``pool``."""
    return entry._state is _POOLED and came_from(entry, pool)


def note_origin(entry: Entry, pool: Identifiable) -> None:
    """Note of an entry that it came from ``pool``, or was given to it."""
    entry._pool = pool.uuid


def note_filed(entry: Entry, pool: Identifiable) -> None:
    """Note of an entry that ``pool`` has it as it is."""
    entry._state = _POOLED
    entry._pool = pool.uuid
