"""The write side of the verbs: blobs into a pool, and what each outcome means for its entry."""

from __future__ import annotations

from laila.central.checking import missing_leaves, stays_as_it_is, taken_names
from laila.contract.pool import StoreOutcome
from laila.entry import EntryState, Manifest, from_blob, to_blob
from laila.errors import EvolutionConflictError, ImmutableEntryError, ManifestError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Literal

    from laila.blob.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry import Entry

    Outcome = str | BaseException

__all__ = [
    "ON_CONFLICT",
    "Plan",
    "cascade",
    "conflict",
    "evolution_of",
    "is_pooled",
    "parted",
    "refused",
    "store",
    "store_over",
    "store_plan",
    "unmark",
]

ON_CONFLICT = (None, "next")
# A try fails only because another writer's succeeded: only a pool that breaks its word gets here.
NEXT_TRIES = 10_000
_SLICE_BYTES = 64 << 20
_CREATED, _SAME = StoreOutcome.CREATED, StoreOutcome.SAME
_POOLING, _POOLED, _READY = EntryState.POOLING, EntryState.POOLED, EntryState.READY


def store(
    pool: Pool,
    entries: Sequence[Entry],
    blobs: Sequence[Blob],
    *,
    overwrite: bool = False,
    on_conflict: Literal["next"] | None = None,
) -> list[Outcome]:
    """Store ``blobs``, the snapshots of ``entries``; return for each its global id or its error.

    A blob whose nickname is taken by what is of the other kind is refused. ``overwrite`` replaces constants
    (an evolution is never replaced). ``on_conflict="next"`` stores a variable whose evolution another writer
    took under the next free one. Raises what the backend raises.
    """
    try:
        taken: dict[int, Outcome] = {**taken_names(pool, blobs, entries)}
    except BaseException:
        unmark(entries)
        raise
    if not taken:
        return _store_free(pool, entries, blobs, overwrite, on_conflict)
    unmark(entries[i] for i in taken)
    free = [i for i in range(len(blobs)) if i not in taken]
    some = [entries[i] for i in free], [blobs[i] for i in free]
    taken.update(zip(free, _store_free(pool, *some, overwrite, on_conflict), strict=True))
    return [taken[i] for i in range(len(blobs))]


def _store_free(
    pool: Pool,
    entries: Sequence[Entry],
    blobs: Sequence[Blob],
    overwrite: bool = False,
    on_conflict: Literal["next"] | None = None,
) -> list[Outcome]:
    if not blobs:
        return []
    try:
        found = store_over(pool, blobs) if overwrite else pool.store(blobs)
    except BaseException:
        unmark(entries)
        raise
    return _settle(pool, entries, blobs, found, on_conflict)


def _settle(
    pool: Pool,
    entries: Sequence[Entry],
    blobs: Sequence[Blob],
    found: Sequence[object],
    on_conflict: Literal["next"] | None = None,
) -> list[Outcome]:
    """Say what each of ``found``, a pool's answers, means for its entry."""
    outcomes: list[Outcome] = []
    for entry, blob, outcome in zip(entries, blobs, found, strict=True):
        key = blob.key
        if outcome is _CREATED or outcome is _SAME:
            # One that evolved since is not the one that was stored.
            if entry._state is _POOLING and (entry._evolution is None or entry.global_id == key):
                entry._state = _POOLED
                entry._pool = pool._uuid
            outcomes.append(key)
            continue
        unmark((entry,))
        if isinstance(outcome, BaseException):
            outcomes.append(outcome)
        elif on_conflict == "next" and not _is_constant(key):
            outcomes.append(_store_next(pool, entry, blob))
        else:
            outcomes.append(conflict(blob, pool))
    return outcomes


class Plan:
    """What a verb has to store where manifests are among it.

    ``entries`` come in the order of storing: first what is no manifest, each once, then the ``manifests``
    last of them, inner ones first. ``blobs`` are their snapshots; None for an entry that this process gave to
    ``pool`` before, so that a manifest that grows costs what is new in it (a peer's pool is None: all of them
    are sent). ``needs`` says of each manifest where in ``entries`` that stands which it refers to, and
    ``leaves``, by place, to what else it refers. What stands at the places ``asked`` was given itself.
    """

    __slots__ = ("_options", "_places", "asked", "blobs", "entries", "keys", "leaves", "manifests", "needs")

    def __init__(
        self, given: Iterable[Entry], pool: Pool | None, *, pickle: bool, copy: bool, verify: bool = False
    ) -> None:
        plain: dict[int, Entry] = {}
        manifests: dict[int, tuple[Manifest, list[Entry]]] = {}
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
        place = {id(entry): i for i, entry in enumerate(self.entries)}
        self.manifests = len(manifests)
        self._options = {"pickle": pickle, "copy": copy, "verify": verify}
        self._places = [place[id(entry)] for entry in given]
        self.asked = {place for place in self._places if place < len(plain)}
        self.blobs = [
            None
            if pool is not None and is_pooled(entry, pool) and i < len(plain) and i not in self.asked
            else to_blob(entry, **self._options)
            for i, entry in enumerate(self.entries)
        ]
        self.keys = [
            entry.global_id if blob is None else blob.key
            for entry, blob in zip(self.entries, self.blobs, strict=True)
        ]
        trees = {i: [*dict.fromkeys(one)] for i, (one, _) in enumerate(manifests.values(), len(plain))}
        self.needs, self.leaves = parted(trees, self.keys)

    def snapshot(self, place: int) -> Blob:
        """Return the blob of an entry as it is now."""
        return to_blob(self.entries[place], **self._options)

    def mark(self) -> None:
        """Say of the entries that are to be stored that they are on their way."""
        for entry, blob in zip(self.entries, self.blobs, strict=True):
            if blob is not None:
                entry._state = _POOLING

    def of_given(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes of what was given, in its order."""
        return [outcomes[place] for place in self._places]


def parted(
    trees: Mapping[int, Sequence[str]], keys: Sequence[str]
) -> tuple[list[list[int]], dict[int, list[str]]]:
    """Part what manifests refer to, by their places: what is stored with them under ``keys``, and the rest.

    The id of a variable without evolution is there where one of its evolutions is.
    """
    places: dict[str, int] = {}
    for i, key in enumerate(keys):
        places[key] = i
        if not _is_constant(key):
            places.setdefault(key.rpartition("-")[0], i)
    needs = [[n for leaf in some if (n := places.get(leaf, i)) != i] for i, some in trees.items()]
    return needs, {i: [leaf for leaf in some if leaf not in places] for i, some in trees.items()}


def is_pooled(entry: Entry, pool: Pool) -> bool:
    """Whether this process stored ``entry``, as it is, in ``pool``."""
    return entry._state is _POOLED and getattr(entry, "_pool", None) == pool._uuid


def store_plan(
    pool: Pool, plan: Plan, size: int | None = None, *, overwrite: bool = False, missing_ok: bool = False
) -> list[Outcome]:
    """Store a plan: entries in slices of ``size``, then the manifests; one outcome an entry of the plan.

    Without a ``size``, a slice is what takes 64 MiB: a slice costs a durable pool a sync or two. Where the
    pool can do that, and all of it is new, the manifests share a commit with the last slice.

    A manifest of which an entry failed is not stored: what is stored refers to nothing that is not. Unless
    ``missing_ok``, neither is one with leaves that are ids of what is not there; then nothing is written of
    what it alone holds.
    """
    entries, first = plan.entries, len(plan.entries) - plan.manifests
    outcomes: dict[int, Outcome] = {}

    def store_some(places: Sequence[int]) -> None:
        some = [entries[i] for i in places]
        blobs = [plan.blobs[i] or plan.snapshot(i) for i in places]
        for i in places:
            plan.blobs[i] = None  # what is stored need not wait in memory for the rest
        outcomes.update(zip(places, _store_free(pool, some, blobs, overwrite), strict=True))

    def stored_together(places: Sequence[int]) -> bool:
        blobs = [plan.blobs[i] or plan.snapshot(i) for i in places]
        if not pool.store_together(blobs):
            return False
        created = _settle(pool, [entries[i] for i in places], blobs, [_CREATED] * len(blobs))
        outcomes.update(zip(places, created, strict=True))
        return True

    try:
        outcomes.update(taken_names(pool, plan.blobs[:first], entries))
        if not missing_ok:
            outcomes.update(missing_leaves(pool, plan.leaves, plan.keys))
    except Exception as error:  # noqa: BLE001 - the outcome of all of it: nothing was written
        return [error] * len(entries)
    outcomes.update(cascade(plan.needs, plan.keys, outcomes, plan.asked))
    try:
        # The chain's last tier decides what is stored; what was forgotten there meanwhile is stored again.
        last = pool.chain()[-1] if pool.write_through else pool
        before = [i for i in range(first) if plan.blobs[i] is None and i not in outcomes]
        # Manifests that are all there are memorized again to be sure of them: then every entry is read.
        keys = [plan.keys[i] for i in before]
        again = bool(before) and all(last.exist_here(plan.keys[first:]))
        there = last.whole_here(keys) if again else last.exist_here(keys)
        outcomes.update((i, plan.keys[i]) for i, found in zip(before, there, strict=True) if found)
        *slices, final = [*_slices(plan, [i for i in range(first) if i not in outcomes], size)] or [[]]
        for some in slices:
            store_some(some)
        apart = (
            overwrite
            or len(final) + plan.manifests == 1
            or not all(isinstance(outcome, str) for outcome in outcomes.values())
        )
        if (apart or not stored_together([*final, *range(first, len(entries))])) and final:
            store_some(final)
    except Exception as error:  # noqa: BLE001 - the outcome of all that was not tried: no wait for each
        outcomes.update((i, error) for i in range(first) if i not in outcomes)
    for i, needs in enumerate(plan.needs, first):
        if i in outcomes:
            continue
        failed = [one for n in needs if not isinstance(one := outcomes.get(n), str)]
        if not failed:
            try:
                store_some([i])
            except Exception as error:  # noqa: BLE001 - the outcome of this manifest
                outcomes[i] = error
        else:
            outcomes[i] = refused(plan.keys[i], failed[0])
    return [outcomes[i] for i in range(len(entries))]


def cascade(
    needs: Sequence[Sequence[int]],
    keys: Sequence[str],
    refused_: Mapping[int, Outcome],
    asked: Collection[int] = (),
) -> dict[int, Outcome]:
    """Return by place the errors of what is not to be stored either, since what ``refused_`` has is not.

    These are the manifests that refer to it, and the entries that only such manifests refer to, except those
    that were ``asked`` for. ``needs`` says of the manifests, the last of ``keys``, to what they refer.
    """
    if not refused_:
        return {}
    outcomes: dict[int, Outcome] = dict(refused_)
    alone: dict[int, Outcome] = {}
    needed: set[int] = set(asked)
    first = len(keys) - len(needs)
    for i, some in enumerate(needs, first):
        failed = next((outcomes[n] for n in some if n in outcomes), None)
        if failed is not None:
            outcomes.setdefault(i, refused(keys[i], failed))
        if i in outcomes:
            alone.update(dict.fromkeys(some, outcomes[i]))
        else:
            needed.update(some)
    return {**{i: error for i, error in alone.items() if i < first and i not in needed}, **outcomes}


def _slices(plan: Plan, places: Sequence[int], size: int | None) -> Iterator[Sequence[int]]:
    if size is not None:
        yield from (places[start : start + size] for start in range(0, len(places), size))
        return
    some: list[int] = []
    room = _SLICE_BYTES
    for i in places:
        blob = plan.blobs[i]
        some.append(i)
        room -= 0 if blob is None else blob.content_nbytes
        if room <= 0:
            yield some
            some, room = [], _SLICE_BYTES
    if some:
        yield some


def unmark(entries: Iterable[Entry]) -> None:
    """Say of entries that are not on their way to a pool any more that they are ready for it."""
    for entry in entries:
        if entry._state is _POOLING:
            entry._state = _READY


def _is_constant(key: str) -> bool:
    return key[-37] == ":"


def evolution_of(blob: Blob) -> int | None:
    """The evolution in the id of a valid blob; None for a constant or a manifest."""
    return None if _is_constant(blob.key) else int(blob.key.rpartition("-")[2])


def store_over(pool: Pool, blobs: Sequence[Blob]) -> list[object]:
    """File ``blobs`` in place of what is there; an evolution is never replaced.

    What is there as it is to be is compared, and not written again.
    """
    outcomes: list[object] = [None] * len(blobs)
    constants = [i for i, blob in enumerate(blobs) if _is_constant(blob.key)]
    same = stays_as_it_is(pool, [blobs[i] for i in constants]) if constants else []
    replaced = [i for i, stays in zip(constants, same, strict=True) if not stays]
    rest = [i for i in range(len(blobs)) if i not in set(replaced)]
    for i, outcome in zip(rest, pool.store([blobs[i] for i in rest]) if rest else (), strict=True):
        outcomes[i] = outcome
        if _is_constant(blobs[i].key) and outcome not in {_CREATED, _SAME}:
            replaced.append(i)
    some = [blobs[i] for i in replaced]
    for i, outcome in zip(replaced, pool.store(some, replace=True) if some else (), strict=True):
        outcomes[i] = outcome
    return outcomes


def _store_next(pool: Pool, entry: Entry, blob: Blob) -> Outcome:
    """Store the snapshot under the evolution after the newest, again while other writers are faster."""
    moved = from_blob(blob)
    stem = blob.key.rpartition("-")[0]
    for _ in range(NEXT_TRIES):
        (numbers,) = pool.history([stem])
        moved._evolution = numbers[-1] + 1 if numbers else 0
        again = to_blob(moved)
        (outcome,) = pool.store([again])
        if isinstance(outcome, BaseException):
            return outcome
        if outcome is not StoreOutcome.CONFLICT:
            if entry.global_id == blob.key:
                entry._evolution = moved._evolution
                entry._state = _POOLED
                entry._pool = pool._uuid
            return again.key
    return conflict(blob, pool)


def conflict(blob: Blob, pool: Pool) -> ImmutableEntryError | EvolutionConflictError:
    """Return the error of a blob under whose id another content is stored."""
    return _immutable(blob, pool) if _is_constant(blob.key) else _conflict(blob, pool)


def _immutable(blob: Blob, pool: Pool) -> ImmutableEntryError:
    where, name = _decider(pool), f" ({shown(blob.nickname)})" if blob.nickname else ""
    return ImmutableEntryError(
        f"{blob.key}{name} is a constant and pool {shown(where)} has it with another content, which was "
        "kept; "
        "store the new content under an id of its own, make it a variable(…), or pass overwrite=True",
        key=blob.key,
        pool=where,
    )


def _conflict(blob: Blob, pool: Pool) -> EvolutionConflictError:
    where, name = _decider(pool), f" ({shown(blob.nickname)})" if blob.nickname else ""
    return EvolutionConflictError(
        f"another writer stored {blob.key}{name} first in pool {shown(where)}, with another content, "
        "which was "
        'kept; remember the entry, evolve it and memorize again, or memorize(…, on_conflict="next")',
        key=blob.key,
        pool=where,
    )


def _decider(pool: Pool) -> str:
    """The name of the tier that decides conflicts: the last one of a chain that is one store."""
    return (pool.chain()[-1] if pool.write_through else pool).label


def refused(key: str, failed: object) -> ManifestError:
    """Return the error of a manifest of which ``failed``, an entry's error, or None, kept the entry away.

    None says that the entry is a manifest that comes later.
    """
    why = (
        f"an entry of it could not be: {said(failed)}"
        if isinstance(failed, BaseException)
        else "it refers to a manifest that comes after it; memorize inner manifests first"
    )
    error = ManifestError(f"the manifest {key} was not stored, because {why}", path=key)
    error.__cause__ = failed if isinstance(failed, BaseException) else None
    return error
