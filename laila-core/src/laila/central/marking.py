"""The entries' side of storing: their snapshots, their places in a plan, and the state that each is in."""

from __future__ import annotations

from laila.central.known import is_asked_for
from laila.central.plans import Plan, store_plan
from laila.central.writing import renumbered, store
from laila.entry import EntryState, Manifest, from_blob, to_blob
from laila.entry.leaves import leaf_of
from laila.keys import number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from laila.blob.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.entry.leaves import Leaf
    from laila.entry.manifest_tree import ManifestTree

    Outcome = str | BaseException
    Known = Callable[[Sequence[Entry]], Collection[int]]

__all__ = ["EntryPlan", "came_from", "is_pooled", "mark", "note_stored", "store_entries", "unmark"]

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
    entries: Sequence[Entry], keys: Sequence[str], outcomes: Sequence[object], pool: Pool | None
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


def came_from(entry: Entry, pool: Pool) -> bool:
    """Whether ``entry`` was given to ``pool`` by this process, or came from it."""
    return getattr(entry, "_pool", None) == pool.uuid


def is_pooled(entry: Entry, pool: Pool) -> bool:
    """Whether this process stored ``entry``, as it is, in ``pool``."""
    return entry._state is _POOLED and came_from(entry, pool)


def store_entries(
    pool: Pool,
    entries: Sequence[Entry],
    keys: Sequence[str],
    blobs: Sequence[Blob | None],
    *,
    overwrite: bool = False,
    on_conflict: str | None = None,
) -> list[Outcome]:
    """Store the snapshots of entries, and note what became of them; options as for ``writing.store``.

    What has no blob is known to be there, under its key.
    """
    sent = [i for i, blob in enumerate(blobs) if blob is not None]
    outcomes: list[Outcome] = list(keys)
    try:
        stored = store(
            pool,
            [blob for blob in blobs if blob is not None],
            overwrite=overwrite,
            on_conflict=on_conflict,
            renumber=_renumbered,
            held=lambda place: came_from(entries[sent[place]], pool),
        )
    except BaseException:
        unmark(entries)
        raise
    for i, outcome in zip(sent, stored, strict=True):
        outcomes[i] = outcome
    note_stored(entries, keys, outcomes, pool)
    return outcomes


def _renumbered(blob: Blob, number: int) -> Blob:
    """Give a snapshot another evolution; a signed snapshot is signed again."""
    again = renumbered(blob, number)
    if again is None:
        entry = from_blob(blob)
        entry._evolution = number
        again = to_blob(entry)
    return again


class EntryPlan(Plan):
    """A plan of entries: first what is no manifest, then the manifests, inner ones first.

    What this process gave to ``pool`` before has no snapshot, so that a manifest that grows costs what is new
    in it. A peer's pool is None: every entry is sent there.
    """

    def __init__(
        self,
        given: Iterable[Entry],
        pool: Pool | None,
        *,
        pickle: bool,
        copy: bool,
        verify: bool = False,
        known: Known | None = None,
    ) -> None:
        """Take the snapshots of what was ``given``, and of all that waits in manifests among it.

        ``known`` says of entries at which places are those that are there already: they have no snapshots.
        """
        plain: dict[int, Entry] = {}
        manifests: dict[int, tuple[ManifestTree, list[Entry]]] = {}
        given = list(given)
        for entry in given:
            if not isinstance(entry, Manifest):
                plain[id(entry)] = entry
                continue
            for manifest, pending in entry.manifests():
                manifests[id(manifest)] = manifest, pending
                leaves = [leaf for leaf in pending if not isinstance(leaf, Manifest)]
                plain.update(zip(map(id, leaves), leaves, strict=True))
        self.entries: list[Entry] = [*plain.values(), *(manifest for manifest, _ in manifests.values())]
        self._pool = pool
        self._options = {"pickle": pickle, "copy": copy, "verify": verify}
        place = {id(entry): i for i, entry in enumerate(self.entries)}
        self._places = [place[id(entry)] for entry in given]
        asked = {place for place in self._places if place < len(plain)}
        there = set() if known is None else known(self.entries)
        blobs = [
            None
            if i in there
            or (pool is not None and is_pooled(entry, pool) and i not in asked and not is_asked_for(entry))
            else to_blob(entry, **self._options)
            for i, entry in enumerate(plain.values())
        ]
        # A manifest has a table of what is in it, so that its snapshot comes after those of its leaves.
        rows = {blob.key: row for blob in blobs if blob is not None and (row := leaf_of(blob)) is not None}
        rows.update(
            (entry.global_id, entry._content.leaf)
            for entry in plain.values()
            if entry._content is not None and entry._content.leaf is not None
        )
        unknown: dict[int, list[str]] = {}
        for i, (manifest, _) in enumerate(manifests.values(), len(plain)):
            manifest.note_leaves(rows)
            blob = to_blob(manifest, **self._options)
            blobs.append(blob)
            if (row := leaf_of(blob)) is not None:
                rows[blob.key] = row
            if absent := manifest.unknown_leaves():
                unknown[i] = absent
        keys = [
            entry.global_id if blob is None else blob.key
            for entry, blob in zip(self.entries, blobs, strict=True)
        ]
        trees = {i: [*dict.fromkeys(tree)] for i, (tree, _) in enumerate(manifests.values(), len(plain))}
        super().__init__(keys, blobs, trees, asked=asked, unknown=unknown, known=there)

    def learn(self, found: dict[str, Leaf]) -> None:
        """Write what was found of leaves into the tables of the manifests, and their snapshots."""
        super().learn(found)
        for place in self.unknown:
            manifest = self.entries[place]
            if isinstance(manifest, Manifest):
                manifest.note_leaves(found)

    def snapshot(self, place: int) -> Blob:
        """Return the blob of an entry as it is now."""
        return to_blob(self.entries[place], **self._options)

    def held(self, place: int) -> bool:
        """Whether the pool is known to have the entry at a place, or to have given it."""
        return self._pool is not None and came_from(self.entries[place], self._pool)

    def mark(self) -> None:
        """Say of the entries that are to be stored that they are on their way."""
        mark(
            entry
            for i, (entry, blob) in enumerate(zip(self.entries, self.blobs, strict=True))
            if blob is not None or i in self.known
        )

    def of_given(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes of what was given, in its order."""
        return [outcomes[place] for place in self._places]

    def store(
        self, pool: Pool, size: int | None, *, overwrite: bool = False, missing_ok: bool = False
    ) -> list[Outcome]:
        """Store all of it, as :func:`laila.central.plans.store_plan` does, and note what became of it."""
        try:
            outcomes = store_plan(pool, self, size, overwrite=overwrite, missing_ok=missing_ok)
            note_stored(self.entries, self.keys, outcomes, pool)
        finally:
            unmark(self.entries)  # after an interrupt
        return outcomes
