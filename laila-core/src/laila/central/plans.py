"""Manifests with their entries: in what order they are stored, and what fails together.

A :class:`Plan` is made of blobs, whoever sends them; that of entries is in :mod:`laila.central.marking`.
"""

from __future__ import annotations

from laila.central.checking import missing_leaves, taken_names
from laila.central.describing import complete, learn
from laila.central.relying import look_again
from laila.central.writing import store_free
from laila.errors import ManifestError
from laila.keys import is_evolution, stem_of
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from laila.blob.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry.leaves import Leaf

    Outcome = str | BaseException

__all__ = ["Plan", "store_plan"]

_SLICE_BYTES = 64 << 20


class Plan:
    """The entries and manifests that a verb has to store.

    ``keys`` are in the order of storing: first the entries, each once, then the ``manifests``. ``needs[n]``
    lists the places in ``keys`` of the entries that manifest n refers to. ``leaves`` maps the place of a
    manifest to the ids that it refers to outside of the plan.
    """

    def __init__(
        self,
        keys: Sequence[str],
        blobs: Sequence[Blob | None],
        trees: Mapping[int, Sequence[str]],
        *,
        asked: Collection[int],
        refused: Mapping[int, Outcome] | None = None,
        unknown: Mapping[int, Sequence[str]] | None = None,
        known: Collection[int] = (),
    ) -> None:
        """Make a plan.

        Args:
            keys: The keys of all entries and manifests.
            blobs: Their blobs; None for entries that the pool got before.
            trees: By the places of the manifests, the ids that they refer to.
            asked: The places of the entries that the caller gave, not only as part of a manifest.
            refused: By place, the errors of what is known not to be stored.
            unknown: By the places of manifests, the leaves that their tables lack.
            known: The places of what the pool is known to have; they have no blobs.
        """
        self.keys = keys
        self.blobs = list(blobs)
        self.manifests = len(trees)
        self.asked = asked
        self.refused = {} if refused is None else refused
        self.unknown = {} if unknown is None else unknown
        self.known = known
        self.needs, self.leaves = _parted(trees, keys)
        first = len(keys) - len(trees)
        self.ordered = all(n < i for i, needs in enumerate(self.needs, first) for n in needs)

    def learn(self, found: dict[str, Leaf]) -> None:
        """Write what was found of leaves into the tables of the manifests."""
        if found:
            complete(self.blobs, self.unknown, found)

    def snapshot(self, place: int) -> Blob:
        """Return the blob of what was given to the pool before. A plan of blobs has no such thing."""
        raise NotImplementedError

    def held(self, _place: int) -> bool:
        """Whether the pool is known to have the entry at a place, or to have given it."""
        return False


def _parted(
    trees: Mapping[int, Sequence[str]], keys: Sequence[str]
) -> tuple[list[list[int]], dict[int, list[str]]]:
    """Part what manifests refer to, by their places: what is stored with them under ``keys``, and the rest.

    The id of a variable without evolution is there where one of its evolutions is.
    """
    places: dict[str, int] = {}
    for i, key in enumerate(keys):
        places[key] = i
        if is_evolution(key):
            places.setdefault(stem_of(key), i)
    needs = [[n for leaf in ids if (n := places.get(leaf, i)) != i] for i, ids in trees.items()]
    return needs, {i: [leaf for leaf in ids if leaf not in places] for i, ids in trees.items()}


def store_plan(
    pool: Pool, plan: Plan, size: int | None = None, *, overwrite: bool = False, missing_ok: bool = False
) -> list[Outcome]:
    """Store a plan: entries in slices of ``size``, then the manifests; one outcome for each key.

    Without a ``size``, a slice has 64 MiB: a slice costs a durable pool a sync or two. If the pool can, and
    if all entries are new, the manifests share a commit with the last slice.

    A manifest is not stored if one of its entries failed, so a stored manifest refers to stored entries
    alone. Without ``missing_ok``, a manifest with missing leaves is not stored either, nor are the entries
    that it alone holds.
    """
    first = len(plan.keys) - plan.manifests
    outcomes: dict[int, Outcome] = dict(plan.refused)

    same: list[str] = []  # what was in the pool already, so that somebody may be about to delete it
    digests: dict[str, bytes] = {}

    def store_some(places: Sequence[int]) -> None:
        blobs = [plan.blobs[i] or plan.snapshot(i) for i in places]
        for i in places:
            plan.blobs[i] = None  # stored blobs need not wait in memory for the rest
        before = len(same)
        outcomes.update(zip(places, store_free(pool, blobs, overwrite, same=same), strict=True))
        if len(same) > before:
            relied = set(same[before:])
            digests.update((blob.key, blob.digest) for blob in blobs if blob.key in relied)

    def stored_together(places: Sequence[int]) -> bool:
        blobs = [plan.blobs[i] or plan.snapshot(i) for i in places]
        if not pool.store_together(blobs):
            return False
        outcomes.update(zip(places, (blob.key for blob in blobs), strict=True))
        return True

    try:
        outcomes.update(taken_names(pool, plan.blobs[:first], plan.held))
        exists = learn(pool, list(dict.fromkeys(leaf for batch in plan.unknown.values() for leaf in batch)))
        if not missing_ok:
            outcomes.update(missing_leaves(pool, plan.leaves, plan.keys, exists))
        plan.learn(exists)
    except Exception as error:  # noqa: BLE001 - the outcome of all of it: nothing was written
        return [error] * len(plan.keys)
    outcomes.update(_cascade(plan.needs, plan.keys, outcomes, plan.asked))
    outcomes.update((i, plan.keys[i]) for i in plan.known if i not in outcomes)
    try:
        # Entries that were forgotten meanwhile in the deciding tier are stored again.
        last = pool.deciding_tier
        before = [i for i in range(first) if plan.blobs[i] is None and i not in outcomes]
        # Manifests that are all there are memorized again to be sure of them: then every entry is read.
        keys = [plan.keys[i] for i in before]
        again = bool(before) and all(last.exist_here(plan.keys[first:]))
        stored = last.whole_here(keys) if again else last.exist_here(keys)
        outcomes.update((i, plan.keys[i]) for i, exists in zip(before, stored, strict=True) if exists)
        same += (plan.keys[i] for i, exists in zip(before, stored, strict=True) if exists)
        *slices, final = [*_slices(plan, [i for i in range(first) if i not in outcomes], size)] or [[]]
        for batch in slices:
            store_some(batch)
        apart = (
            overwrite
            or len(final) + plan.manifests == 1
            or not plan.ordered
            or not all(isinstance(outcome, str) for outcome in outcomes.values())
        )
        if (apart or not stored_together([*final, *range(first, len(plan.keys))])) and final:
            store_some(final)
    except Exception as error:  # noqa: BLE001 - the outcome of all that was not tried: no wait for each
        outcomes.update((i, error) for i in range(first) if i not in outcomes)
    for i, needs in enumerate(plan.needs, first):
        if i in outcomes:
            continue
        failed = [entry_outcome for n in needs if not isinstance(entry_outcome := outcomes.get(n), str)]
        if not failed:
            try:
                store_some([i])
            except Exception as error:  # noqa: BLE001 - the outcome of this manifest
                outcomes[i] = error
        else:
            outcomes[i] = _refused(plan.keys[i], failed[0])
    relied = {plan.keys[i] for i in plan.known}.union(same)
    look_again(pool, plan, outcomes, relied, digests, overwrite=overwrite, missing_ok=missing_ok)
    return [outcomes[i] for i in range(len(plan.keys))]


def _cascade(
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
    for i, places in enumerate(needs, first):
        failed = next((outcomes[n] for n in places if n in outcomes), None)
        if failed is not None:
            outcomes.setdefault(i, _refused(keys[i], failed))
        if i in outcomes:
            alone.update(dict.fromkeys(places, outcomes[i]))
        else:
            needed.update(places)
    return {**{i: error for i, error in alone.items() if i < first and i not in needed}, **outcomes}


def _slices(plan: Plan, places: Sequence[int], size: int | None) -> Iterator[Sequence[int]]:
    if size is not None:
        yield from (places[start : start + size] for start in range(0, len(places), size))
        return
    batch: list[int] = []
    room = _SLICE_BYTES
    for i in places:
        blob = plan.blobs[i]
        batch.append(i)
        room -= 0 if blob is None else blob.content_nbytes
        if room <= 0:
            yield batch
            batch, room = [], _SLICE_BYTES
    if batch:
        yield batch


def _refused(key: str, failed: object) -> ManifestError:
    """Return the error of a manifest whose entry was not stored because of the error ``failed``.

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
