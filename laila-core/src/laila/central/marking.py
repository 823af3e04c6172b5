"""The entries' side of storing: their snapshots, their places in a plan, and the state that each is in."""

from __future__ import annotations

from laila.central.known import is_asked_for
from laila.central.packing import Kept, is_small, packs_of, stays_apart
from laila.central.plans import Plan, store_plan
from laila.central.writing import conflict, renumbered, store
from laila.entry import Manifest, from_blob, to_blob
from laila.entry.leaves import leaf_of
from laila.entry.states import came_from, is_pooled, mark, note_stored, unmark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from laila.blob.blob import Blob
    from laila.central.packing import Packer
    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.entry.leaves import Leaf
    from laila.entry.manifest_tree import ManifestTree
    from laila.entry.packs import Place

    Outcome = str | BaseException
    Known = Callable[[Sequence[Entry]], Collection[int]]

__all__ = ["EntryPlan", "store_entries"]


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

    An entry without a blob is known to be there, under its key.
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
    if len(sent) < len(blobs):
        from laila.upkeep.notes import note_use

        note_use(pool, [key for key, blob in zip(keys, blobs, strict=True) if blob is None])
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
    """A plan of entries: first what is no manifest, then packs, then the manifests, inner ones first.

    What this process gave to ``pool`` before has no snapshot, so that a manifest that grows costs what is new
    in it. A peer's pool is None: every entry is sent there. Leaves that are packed have no place of their own
    in the plan.
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
        packer: Packer | None = None,
    ) -> None:
        """Take the snapshots of what was ``given``, and of all that waits in manifests among it.

        ``known`` says of entries at which places are those that are there already: they have no snapshots.
        ``packer`` says which leaves of manifests are packed.
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
        asked = {id(self.entries[i]) for i in self._places if i < len(plain)}
        there = set() if known is None else {id(self.entries[i]) for i in known(self.entries)}
        kept = Kept({}, set(), set())
        if packer is not None:
            kept = packer.keep(manifests.values(), lambda entry: pool is not None and is_pooled(entry, pool))
        blobs: dict[int, Blob | None] = {}
        small: dict[int, tuple[str, bytes]] = {}
        rows: dict[str, Leaf] = {}
        packs_again = kept.lost | self._packs_again(manifests.values(), packer)
        for number, entry in plain.items():
            if number in kept.packed:
                continue
            pooled = pool is not None and is_pooled(entry, pool) and not is_asked_for(entry)
            stays = pooled and number not in asked and number not in packs_again
            if stays or number in there or number in kept.apart:
                blobs[number] = None
            else:
                blob = to_blob(entry, **self._options)
                if (row := leaf_of(blob)) is not None:
                    rows[blob.key] = row
                data = None
                if packer is not None and packer.size is not None and not stays_apart(entry):
                    data = is_small(blob)
                if data is None:
                    blobs[number] = blob
                else:
                    small[number] = blob.key, data
        rows.update(
            (entry.global_id, entry._content.leaf)
            for entry in plain.values()
            if entry._content is not None and entry._content.leaf is not None
        )
        packs = self._pack(manifests.values(), small, packer)
        alone = [plain[number] for number in plain if number in blobs]
        stored: list[Blob | None] = [blobs[number] for number in plain if number in blobs]
        stored += packs
        self._at: list[Entry | None] = [*alone, *([None] * len(packs)), *(m for m, _ in manifests.values())]
        # A manifest has tables of what is in it, so that its snapshot comes after those of its leaves.
        first = len(stored)
        unknown: dict[int, list[str]] = {}
        refused: dict[int, Outcome] = {}
        for i, (manifest, _) in enumerate(manifests.values(), first):
            manifest.note_leaves(rows)
            blob = to_blob(manifest, **self._options)
            stored.append(blob)
            if (row := leaf_of(blob)) is not None:
                rows[blob.key] = row
            if absent := manifest.unknown_leaves():
                unknown[i] = absent
            before = None if packer is None or packer.renew else packer.found.get(blob.key)
            if before is not None and pool is not None and not manifest.agrees_with(before):
                refused[i] = conflict(blob, pool)
        keys = [
            blob.key if blob is not None else "" if entry is None else entry.global_id
            for entry, blob in zip(self._at, stored, strict=True)
        ]
        self._where = self._outcomes_of(plain, manifests, keys)
        trees = {i: manifest.references() for i, (manifest, _) in enumerate(manifests.values(), first)}
        super().__init__(
            keys,
            stored,
            trees,
            asked={i for i, entry in enumerate(self._at) if id(entry) in asked},
            refused=refused,
            unknown=unknown,
            known={i for i, entry in enumerate(self._at) if id(entry) in there},
        )

    def _packs_again(
        self, manifests: Iterable[tuple[ManifestTree, list[Entry]]], packer: Packer | None
    ) -> set[int]:
        """Return the entries that are packed, though this process stored them before."""
        if packer is None or packer.size is None:
            return set()
        stays = self._pool if not packer.renew else None
        return {
            id(entry)
            for manifest, pending in manifests
            if stays is None or not is_pooled(manifest, stays)
            for entry in pending
            if not isinstance(entry, Manifest) and not stays_apart(entry)
        }

    def _pack(
        self,
        manifests: Iterable[tuple[ManifestTree, list[Entry]]],
        small: dict[int, tuple[str, bytes]],
        packer: Packer | None,
    ) -> list[Blob]:
        """Make the packs of each manifest. A leaf of two manifests lies in a pack of the first one."""
        packs: list[Blob] = []
        if packer is None or packer.size is None:
            return packs
        owners: dict[int, ManifestTree] = {}
        for manifest, pending in manifests:
            leaves = [small[id(entry)] for entry in pending if id(entry) in small and id(entry) not in owners]
            borrowed: dict[str, Place] = {}
            for entry in pending:
                owner = owners.setdefault(id(entry), manifest) if id(entry) in small else manifest
                if owner is not manifest:
                    borrowed |= owner.places_lent([entry.global_id])
            manifest.note_packed(borrowed)
            for blob, places in packs_of(manifest.global_id, leaves, packer.size):
                packs.append(blob)
                manifest.note_packed(places)
        return packs

    def _outcomes_of(
        self,
        plain: dict[int, Entry],
        manifests: dict[int, tuple[ManifestTree, list[Entry]]],
        keys: Sequence[str],
    ) -> list[int | None]:
        """Return for each entry the place in the plan of what is stored for it; None for what is there."""
        own = {id(entry): i for i, entry in enumerate(self._at) if entry is not None}
        numbers = {key: i for i, key in enumerate(keys)}
        packed: dict[int, int | None] = {}
        for manifest, pending in manifests.values():
            for entry in pending:
                if id(entry) in plain and id(entry) not in own:
                    place = manifest.place_of(entry.global_id)
                    packed[id(entry)] = None if place is None else numbers.get(place.pack)
        return [own.get(id(entry), packed.get(id(entry))) for entry in self.entries]

    def learn(self, found: dict[str, Leaf]) -> None:
        """Write what was found of leaves into the tables of the manifests, and their snapshots."""
        super().learn(found)
        for place in self.unknown:
            manifest = self._at[place]
            if isinstance(manifest, Manifest):
                manifest.note_leaves(found)

    def snapshot(self, place: int) -> Blob:
        """Return the blob of an entry as it is now."""
        entry = self._at[place]
        if entry is None:
            raise AssertionError  # a pack has a blob until it is stored
        return to_blob(entry, **self._options)

    def held(self, place: int) -> bool:
        """Whether the pool is known to have the entry at a place, or to have given it."""
        entry = self._at[place]
        return self._pool is not None and entry is not None and came_from(entry, self._pool)

    def mark(self) -> None:
        """Say of the entries that are to be stored that they are on their way."""
        on_the_way = {i for i, blob in enumerate(self.blobs) if blob is not None} | set(self.known)
        mark(entry for entry, i in zip(self.entries, self._where, strict=True) if i in on_the_way)

    def of_entries(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcome of each entry: a packed leaf is stored where its pack is."""
        found: list[Outcome] = []
        for entry, i in zip(self.entries, self._where, strict=True):
            outcome = entry.global_id if i is None else outcomes[i]
            is_packed = i is not None and self._at[i] is None and isinstance(outcome, str)
            found.append(entry.global_id if is_packed else outcome)
        return found

    @property
    def entry_keys(self) -> list[str]:
        """The id of each entry's snapshot."""
        return [
            entry.global_id if i is None or self._at[i] is None else self.keys[i]
            for entry, i in zip(self.entries, self._where, strict=True)
        ]

    def of_given(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes of what was given, in its order, of those of all entries."""
        return [outcomes[place] for place in self._places]

    def store(
        self, pool: Pool, size: int | None, *, overwrite: bool = False, missing_ok: bool = False
    ) -> list[Outcome]:
        """Store all of it, as :func:`laila.central.plans.store_plan` does, and note what became of it.

        Returns:
            An outcome for each entry.
        """
        try:
            outcomes = self.of_entries(
                store_plan(pool, self, size, overwrite=overwrite, missing_ok=missing_ok)
            )
            note_stored(self.entries, self.entry_keys, outcomes, pool)
        finally:
            unmark(self.entries)  # after an interrupt
        return outcomes
